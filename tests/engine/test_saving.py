import resource
from pathlib import Path

import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.runner import save_checkpoint

from mmseg_pointrend import WholeFileBackend
from mmseg_pointrend.config import read_config
from mmseg_pointrend.errors import InputError


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_mmengine_writes_checkpoints_with_it(tiny_config: Path, tmp_path: Path) -> None:
    args = read_config(tiny_config).default_hooks.checkpoint.backend_args
    assert isinstance(get_file_backend(str(tmp_path), backend_args=args), WholeFileBackend)
    path = tmp_path / "folder" / "iter_1.pth"
    save_checkpoint(dict(state_dict=dict(w=torch.ones(2))), str(path), backend_args=args)
    assert torch.load(path)["state_dict"]["w"].tolist() == [1, 1]
    assert files(path.parent) == ["iter_1.pth"]


def test_what_a_kill_has_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".iter_1.pth.partial").write_bytes(b"half of an earlier one, which was longer")
    WholeFileBackend().put(b"new", tmp_path / "iter_1.pth")
    assert (tmp_path / "iter_1.pth").read_bytes() == b"new"
    assert files(tmp_path) == ["iter_1.pth"]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "iter_1.pth"
    WholeFileBackend().put(b"old", path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(InputError, match=r"iter_1\.pth: cannot be written \(File too large\)"):
            WholeFileBackend().put(bytes(2**21), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == ["iter_1.pth"]
