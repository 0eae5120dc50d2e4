"""A training loop that goes on after an interruption as if there had been none."""

from mmengine.dist import get_rank
from mmengine.runner import IterBasedTrainLoop, Runner
from mmseg.registry import LOOPS
from torch import nn
from torch.utils.data import DataLoader

from ..type_names import type_name
from .seeded import STEP, SeededInfiniteSampler, seed_everything


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """An IterBasedTrainLoop whose random numbers depend on the iteration, not on the past.

    MMEngine resumes weights and optimizer, but not the state of random number generators: those of
    the process, which draw training points and dropout, nor those of the workers, which draw crops.
    Here every training step and every sample is seeded by itself, from the seed of the sampler,
    which checkpoints carry. So a resumed run repeats the steps that were lost exactly, and skips
    the data before them without loading any. A validation that was due at the iteration of the
    checkpoint is made up for.

    This holds for an ``InfiniteSampler`` without a batch sampler; with others this is
    IterBasedTrainLoop.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The data loader or its config.
        **kwargs: As of :class:`mmengine.runner.IterBasedTrainLoop`.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, **kwargs) -> None:
        if isinstance(dataloader, dict) and _is_infinite(dataloader):
            dataloader = dict(
                dataloader,
                dataset=dict(type="SeededDataset", dataset=dataloader["dataset"]),
                sampler=dict(dataloader["sampler"], type="SeededInfiniteSampler"),
            )
        super().__init__(runner, dataloader, **kwargs)

    def run(self) -> nn.Module:
        """Train.

        Returns:
            nn.Module: The model.
        """
        sampler = self.dataloader.sampler
        if not isinstance(sampler, SeededInfiniteSampler):
            return super().run()
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        hub = self.runner.message_hub
        sampler.seed = hub.get_info("sampler_seed", sampler.seed)  # a checkpoint's, if resumed
        hub.update_info("sampler_seed", sampler.seed)
        sampler.first = self._iter * self.dataloader.batch_size
        if self._iter > 0:
            self._decide_current_val_interval()
            self._validate_if_due()
        self.dataloader_iterator = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            data_batch = next(self.dataloader_iterator)
            seed_everything(sampler.seed, STEP, get_rank(), self._iter)
            self.run_iter(data_batch)
            self._decide_current_val_interval()
            self._validate_if_due()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _validate_if_due(self) -> None:
        due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        if self.runner.val_loop is not None and self._iter >= self.val_begin and due:
            self.runner.val_loop.run()


def _is_infinite(dataloader: dict) -> bool:
    is_infinite = type_name(dataloader.get("sampler", {})) == "InfiniteSampler"
    return is_infinite and not dataloader.get("batch_sampler")
