"""Data-parallel training on CPUs, for which MMEngine's wrapper asks for GPUs."""

import os

from mmengine.config import Config, ConfigDict
from mmengine.dist import all_reduce_params
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS  # the Runner looks for wrappers there and no deeper
from torch import Tensor, nn


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """A model that several processes train on CPUs.

    PyTorch's SyncBatchNorm wants GPUs. Here each process normalizes with the statistics of its own
    images, and after a step all have the mean of their running statistics, so that every process
    validates the model that rank 0 saves.

    Args:
        module (nn.Module): The model; its SyncBatchNorm becomes BatchNorm.
        **kwargs: As of :class:`torch.nn.parallel.DistributedDataParallel`.
    """

    def __init__(self, module: nn.Module, **kwargs) -> None:
        super().__init__(module=revert_sync_batchnorm(module), **{**kwargs, "device_ids": None})

    def train_step(
        self, data: dict | tuple | list, optim_wrapper: OptimWrapper
    ) -> dict[str, Tensor]:
        """Take a step, then share the statistics of the batch norms.

        Args:
            data (dict | tuple | list): A batch from the data loader.
            optim_wrapper (OptimWrapper): What updates the weights.

        Returns:
            dict[str, Tensor]: Losses and accuracies to log.
        """
        log_vars = super().train_step(data, optim_wrapper)
        all_reduce_params(self.module.buffers(), op="mean")
        return log_vars


def wrap_for_cpus(cfg: Config) -> None:
    """Have a config train in a wrapper that does without GPUs.

    Args:
        cfg (Config): Config of a run; changed in place.
    """
    if cfg.get("model_wrapper_cfg") is not None:  # the user's own, which only lacks this
        cfg.model_wrapper_cfg.setdefault("device_ids", None)
        return
    cfg.model_wrapper_cfg = ConfigDict(
        type="CPUDistributedDataParallel",
        broadcast_buffers=False,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )
    if os.environ["RANK"] == "0":
        print_log(
            "No GPU: the processes train on CPUs, and batch norms use the images of their own "
            "process (sync_bn needs GPUs)."
        )
