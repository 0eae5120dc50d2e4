"""What a config does with an image before the model sees it."""

from mmengine.config import Config

from ..config import type_name
from ..errors import InputError


def tested_dataset(cfg: Config) -> dict:
    """The data set that a config tests on, without what is wrapped around it.

    Args:
        cfg (Config): A config with a ``test_dataloader``.

    Returns:
        dict: Config of the innermost data set; of several, the first one's.
    """
    dataset = cfg.test_dataloader.dataset
    while "pipeline" not in dataset and ("dataset" in dataset or "datasets" in dataset):
        dataset = dataset["dataset"] if "dataset" in dataset else dataset["datasets"][0]
    return dataset


def steps_after_loading(cfg: Config) -> list[dict]:
    """The steps of a test pipeline behind those that load files.

    Args:
        cfg (Config): A config with a ``test_dataloader``.

    Returns:
        list[dict]: Configs of transforms, for images that are loaded already.

    Raises:
        InputError: If there is no pipeline, or it loads other images than colored ones.
    """
    pipeline = tested_dataset(cfg).get("pipeline")
    if pipeline is None:
        raise InputError("test_dataloader.dataset has no pipeline, which prepares images.")
    for step in pipeline:
        if step.get("color_type", "color") != "color":
            raise InputError(
                f"The test pipeline loads images with color_type={step['color_type']!r}; only "
                "models of color images can be predicted with here."
            )
    return [step for step in pipeline if not type_name(step).startswith("Load")]
