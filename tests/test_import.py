"""What importing the package does to the process."""

import subprocess
import sys

import pytest

import mmseg_pointrend

# Names of ours are registered; all else has to stay as MMSegmentation leaves it.
SCRIPT = """
import os, sys, warnings, logging, signal, locale
import cv2, numpy, torch
import mmengine.registry, mmseg.registry
import mmseg, mmseg.models, mmseg.datasets, mmseg.evaluation, mmseg.visualization
from mmengine.runner import CheckpointLoader

def state():
    registries = {
        f"{module.__name__}.{name}": {
            key: value
            for key, value in registry.module_dict.items()
            if not value.__module__.startswith("mmseg_pointrend")
        }
        for module in (mmengine.registry, mmseg.registry)
        for name, registry in vars(module).items()
        if isinstance(registry, mmengine.registry.Registry)
    }
    return dict(
        registries=registries,
        safe_globals=set(torch.serialization.get_safe_globals()),
        loaders=dict(CheckpointLoader._schemes),
        torch_load=torch.load,
        environment=dict(os.environ),
        warnings=list(warnings.filters),
        loggers=(logging.root.level, list(logging.root.handlers)),
        path=list(sys.path),
        threads=(torch.get_num_threads(), cv2.getNumThreads()),
        random=(torch.get_rng_state().sum().item(), str(numpy.random.get_state()[1][:9])),
        defaults=(torch.get_default_dtype(), torch.is_grad_enabled(), numpy.geterr()),
        cudnn=(torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        scope=mmengine.registry.DefaultScope.get_current_instance(),
        hook=sys.excepthook, locale=locale.setlocale(locale.LC_ALL),
        signals=[signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
    )

before = state()
import mmseg_pointrend
after = state()
print([key for key in before if before[key] != after[key]])
"""


def test_the_import_changes_nothing_for_other_programs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", mmseg_pointrend.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(mmseg_pointrend, name) is not None


def test_what_users_call_is_public() -> None:
    for name in ("InputError", "load_weights", "export_model", "PointRendInferencer"):
        assert name in mmseg_pointrend.__all__
    with pytest.raises(AttributeError, match="no attribute 'gone'"):
        _ = mmseg_pointrend.gone
