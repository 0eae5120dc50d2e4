import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample

from mmseg_pointrend import DataCheckHook
from mmseg_pointrend.engine import data_check
from mmseg_pointrend.engine.data_check import LabelStatistics
from mmseg_pointrend.errors import InputError

ModelCfg = Callable[..., ConfigDict]
MakeSamples = Callable[..., list[SegDataSample]]


def make_runner(config: Path, folder: Path, **overrides: object) -> Runner:
    cfg = Config.fromfile(config)
    cfg.merge_from_dict({"work_dir": str(folder), **overrides})
    return Runner.from_cfg(cfg)


class Images:
    """A data set as far as the hook looks at it."""

    def __init__(self, classes: tuple[str, ...] | None) -> None:
        self.metainfo = {} if classes is None else dict(classes=classes)


def stub(model: torch.nn.Module, classes: tuple[str, ...] | None) -> SimpleNamespace:
    loader = SimpleNamespace(dataset=Images(classes))
    return SimpleNamespace(
        model=model, train_dataloader=loader, val_dataloader=loader, test_dataloader=loader
    )


@pytest.mark.usefixtures("fresh_runs")
def test_other_classes_than_the_data_stop_before_training(
    tiny_config: Path, tmp_path: Path
) -> None:
    runner = make_runner(tiny_config, tmp_path, **{"model.decode_head.num_classes": 4})
    with pytest.raises(InputError, match=r"head has 4 classes, ShapesDataset has 6\. .*=6"):
        runner.train()
    assert runner.iter == 0
    assert not list(tmp_path.glob("*.pth"))


@pytest.mark.parametrize("stage", ["train", "val", "test"])
def test_classes_are_compared_at_every_stage(tiny_model: ModelCfg, stage: str) -> None:
    check = getattr(DataCheckHook(), f"before_{stage}_epoch")
    model = MODELS.build(tiny_model())
    check(stub(model, tuple("abcdef")))
    check(stub(model, None))
    with pytest.raises(InputError, match=r"6 classes, Images has 7\."):
        check(stub(model, tuple("abcdefg")))


def test_one_channel_has_two_classes(tiny_model: ModelCfg) -> None:
    loss = dict(type="CrossEntropyLoss", use_sigmoid=True)
    model = MODELS.build(
        tiny_model(
            num_classes=2, out_channels=1, loss_decode=loss, coarse_head=dict(loss_decode=loss)
        )
    )
    DataCheckHook().before_train_epoch(stub(model, ("no", "yes")))
    with pytest.raises(InputError, match=r"has 2 classes, Images has 1\. .*out_channels=1"):
        DataCheckHook().before_train_epoch(stub(model, ("yes",)))


@pytest.mark.parametrize("mode", ["train", "val", "test"])
@pytest.mark.parametrize("value", [6, 254, -1])
def test_a_label_of_no_class_names_file_and_value(
    tiny_model: ModelCfg, make_samples: MakeSamples, mode: str, value: int
) -> None:
    labels = torch.zeros(2, 8, 8, dtype=torch.int64)
    labels[1, 3, 4] = value
    samples = make_samples(labels)
    for k, sample in enumerate(samples):
        sample.set_metainfo(dict(seg_map_path=f"annotations/{k}.png"))
    check = getattr(DataCheckHook(), f"before_{mode}_iter")
    with pytest.raises(
        InputError, match=rf"annotations/1\.png has the label {value}, .*ignore_index=255"
    ):
        check(stub(MODELS.build(tiny_model()), None), 0, dict(data_samples=samples))


def test_classes_and_ignored_pixels_pass(tiny_model: ModelCfg, make_samples: MakeSamples) -> None:
    labels = torch.tensor([[[0, 1, 2, 3], [4, 5, 255, 255]]])
    runner = stub(MODELS.build(tiny_model()), None)
    unlabeled = SegDataSample()
    data = dict(data_samples=[*make_samples(labels), unlabeled])
    DataCheckHook().before_train_iter(runner, 0, data)
    runner = stub(MODELS.build(tiny_model(ignore_index=5, num_classes=5)), None)
    with pytest.raises(InputError, match=r"label 255, .*ignore_index=5"):
        DataCheckHook().before_train_iter(runner, 0, data)


def test_every_image_of_a_batch_is_checked_under_test_time_augmentation(
    tiny_model: ModelCfg, make_samples: MakeSamples
) -> None:
    labels = torch.zeros(2, 8, 8, dtype=torch.int64)
    labels[1] = 77
    views = [dict(data_samples=[sample, sample.clone()]) for sample in make_samples(labels)]
    batch = pseudo_collate(views)
    model = MODELS.build(dict(type="SegTTAModel", module=tiny_model()))
    with pytest.raises(InputError, match="label 77"):
        DataCheckHook().before_test_iter(stub(model, None), 0, batch)
    good = make_samples(torch.zeros(2, 8, 8, dtype=torch.int64))
    batch = pseudo_collate([dict(data_samples=[sample, sample.clone()]) for sample in good])
    DataCheckHook().before_test_iter(stub(model, None), 0, batch)


@pytest.mark.usefixtures("fresh_runs")
def test_a_bad_label_stops_training_before_the_loss_sees_it(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = make_runner(tiny_config, tmp_path)
    dataset_type = DATASETS.get("ShapesDataset")
    read = dataset_type.__getitem__

    def spoiled(dataset: object, index: int) -> dict:
        item = read(dataset, index)
        item["data_samples"].gt_sem_seg.data[0, 0, 0] = 99
        return item

    monkeypatch.setattr(dataset_type, "__getitem__", spoiled)
    with pytest.raises(InputError, match=r"shapes_seed0_\d+_label\.png has the label 99"):
        runner.train()
    assert runner.iter == 0


@pytest.mark.parametrize(
    ("labels", "reduces", "problem", "cause"),
    [
        ([0, 0, 255], False, r"no pixel is of the class disc \(1\)", r"value_map=\{255: 1\}"),
        ([0, 0, 255], True, r"no pixel is of the class disc \(1\)", "reduce_zero_label=False"),
        ([0, 0, 0], False, r"no pixel is of the class disc \(1\)", "Check that the label files"),
        ([255, 255], False, "100.0 % of the pixels of 1 images are ignored", "value_map"),
    ],
)
def test_labels_that_vanish(labels: list[int], reduces: bool, problem: str, cause: str) -> None:
    statistics = LabelStatistics(2, 255)
    statistics.add(torch.tensor(labels), dict(reduce_zero_label=reduces))
    assert re.search(f"{problem}.*{cause}", statistics.warning(("ground", "disc")))


def test_a_rare_class_is_worth_a_warning_and_an_ignored_one_is_not() -> None:
    statistics = LabelStatistics(3, 0)
    statistics.add(torch.tensor([0, 2]), {})
    assert statistics.warning(None).startswith("in 1 images no pixel is of the class 1. ")
    statistics.add(torch.tensor([1]), {})
    assert statistics.warning(None) is None


@pytest.mark.parametrize("ignore_index", [-1, -100])
def test_the_ignored_label_may_be_negative(ignore_index: int) -> None:
    statistics = LabelStatistics(2, ignore_index)
    statistics.add(torch.tensor([0, 1, ignore_index]), {})
    assert statistics.warning(None) is None
    with pytest.raises(InputError, match="label -2, "):
        statistics.add(torch.tensor([0, -2]), {})


@pytest.mark.parametrize("mode", ["train", "val", "test"])
def test_the_report_comes_once(
    tiny_model: ModelCfg,
    make_samples: MakeSamples,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(data_check, "print_log", lambda line, **_: said.append(line))
    monkeypatch.setattr(data_check, "NUM_IMAGES", 4)
    runner, hook = stub(MODELS.build(tiny_model()), tuple("abcdef")), DataCheckHook()
    for index in range(6):
        data = dict(data_samples=make_samples(torch.arange(5).expand(1, 2, 5)))
        getattr(hook, f"before_{mode}_iter")(runner, index, data)
        assert len(said) == (mode == "train" and index >= 3)
    for _ in range(2) if mode != "train" else ():
        getattr(hook, f"after_{mode}_epoch")(runner)
    (line,) = said
    assert re.match(rf"{mode}_dataloader: in [46] images no pixel is of the class f \(5\)\.", line)


def test_images_of_a_batch_have_one_size(tiny_model: ModelCfg, make_samples: MakeSamples) -> None:
    runner = stub(MODELS.build(tiny_model()), None)  # pads to 64x64

    def batch(*sizes: tuple[int, int]) -> dict:
        samples = make_samples(torch.zeros(len(sizes), 8, 8, dtype=torch.int64))
        return dict(inputs=[torch.zeros(3, *size) for size in sizes], data_samples=samples)

    hook = DataCheckHook()
    hook.before_train_iter(runner, 0, batch((64, 64), (50, 64), (9, 9)))
    hook.before_val_iter(runner, 0, batch((50, 64), (50, 64)))
    for mode in ("val", "test"):
        with pytest.raises(InputError, match=rf"set {mode}_dataloader\.batch_size=1"):
            getattr(hook, f"before_{mode}_iter")(runner, 0, batch((64, 64), (50, 64)))


def test_losses_are_checked_before_training(tiny_model: ModelCfg) -> None:
    loss = dict(type="CrossEntropyLoss", class_weight=[1.0, 2.0])
    model = MODELS.build(tiny_model(loss_decode=loss))
    with pytest.raises(InputError, match="must have 6 numbers, one a class, got 2"):
        DataCheckHook().before_train(stub(model, None))
