"""Hooks that stop a run before bad weights or a diverged loss can spoil it."""

from math import isfinite
from pathlib import Path

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..checkpoints.fitting import accept_misfits, check_weights
from ..checkpoints.reading import trust_mmengine_checkpoints


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Compare a checkpoint with the model when its weights are loaded.

    MMEngine loads what fits and leaves the rest as it was initialized. Runs with this hook can read
    checkpoints of MMEngine 0.10.7 with PyTorch 2.6 or newer.

    Raises:
        InputError: If weights other than those of the point head are missing, have other shapes or
            no place in the model; ``allow_partial`` warns instead. Defaults to False.
    """

    def __init__(self, allow_partial: bool = False) -> None:
        self.allow_partial = allow_partial

    def before_run(self, runner: Runner) -> None:
        trust_mmengine_checkpoints()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        check_weights(
            runner.model,
            checkpoint.get("state_dict", checkpoint),
            runner.cfg.get("load_from") or "The checkpoint",
            self.allow_partial,
            fresh_point_head=True,
        )
        # MMEngine removes the best checkpoint of a resumed run, whatever file is named as that.
        hub = checkpoint.get("message_hub")
        info = hub["runtime_info"] if isinstance(hub, dict) else {}
        for key in [key for key in info if key.startswith("best_ckpt")]:
            if Path(str(info[key])).resolve().parent != Path(runner.work_dir).resolve():
                del info[key]

    def before_train(self, runner: Runner) -> None:
        if self.allow_partial:
            accept_misfits(runner.model)

    before_test = before_train


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stop training at the first NaN or infinite loss, before its weights reach a checkpoint.

    Raises:
        FloatingPointError: With the iteration, the losses in question and what usually helps.
    """

    priority = "ABOVE_NORMAL"

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict
    ) -> None:
        losses = {name: value.item() for name, value in outputs.items()}
        invalid = [f"{name}={loss}" for name, loss in losses.items() if not isfinite(loss)]
        # The gradients of one process are in the weights of all, which rank 0 may be about to save.
        found = torch.tensor(float(bool(invalid)))
        all_reduce(found, "max")
        if found:
            where = ", ".join(invalid) or "in another process"
            raise FloatingPointError(
                f"Loss is not finite at iteration {runner.iter + 1}: {where}. Nothing was saved "
                "after it. Lower the learning rate, clip gradients (optim_wrapper.clip_grad) or "
                "look at the images of this iteration, then --resume."
            )
