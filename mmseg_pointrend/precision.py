"""Mixed precision on a CPU, and the memory layout that convolutions are fastest in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS, OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Trains in bfloat16 where that is exact enough, on a CPU; MMEngine's wrapper wants a GPU.

    Weights, gradients and the optimizer stay in float32. bfloat16 has the exponents of float32, so
    that no loss has to be scaled. It pays on CPUs that multiply it (avx512_bf16, AMX).
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast("cpu", torch.bfloat16):
            yield


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lay out a model's weights, and so its features, pixel by pixel."""

    def before_run(self, runner: Runner) -> None:
        runner.model.to(memory_format=torch.channels_last)
