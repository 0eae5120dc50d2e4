from pathlib import Path

import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from mmseg_pointrend.checkpoints import fitting
from mmseg_pointrend.checkpoints.fitting import (
    accept_misfits,
    bare_segmentor,
    check_weights,
    find_misfit,
    load_weights,
    read_checkpoint,
)
from mmseg_pointrend.errors import InputError


def make_model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def save(folder: Path, content: object) -> Path:
    path = folder / "model.pth"
    torch.save(content, path)
    return path


def test_reads_checkpoints_and_bare_state_dicts(tmp_path: Path) -> None:
    weights = weights_of(make_model())
    meta = dict(dataset_meta=dict(classes=("a", "b")))
    read = read_checkpoint(save(tmp_path, dict(meta=meta, state_dict=weights)))
    assert read["meta"] == meta
    torch.testing.assert_close(read["state_dict"], weights, rtol=0, atol=0)
    bare = read_checkpoint(str(save(tmp_path, weights)))
    assert bare.keys() == {"state_dict"}
    torch.testing.assert_close(bare["state_dict"], weights, rtol=0, atol=0)


def test_reads_what_mmengine_writes(checkpoint: Path) -> None:
    read = read_checkpoint(checkpoint)
    assert read["meta"]["iter"] == 2
    assert len(read["meta"]["dataset_meta"]["classes"]) == 6
    losses = read["message_hub"]["log_scalars"]["train/decode.point.loss_ce"]
    assert isinstance(losses, HistoryBuffer)
    assert losses.data[0].shape == (2,)
    assert "optimizer" in read


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), 5])
def test_other_content_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(InputError, match="holds no weights"):
        read_checkpoint(save(tmp_path, content))


def test_weights_that_fit_pass() -> None:
    model = make_model()
    check_weights(model, weights_of(model), "model.pth")
    parallel = {f"module.{name}": weight for name, weight in weights_of(model).items()}
    check_weights(model, parallel, "model.pth")
    uncounted = {k: v for k, v in weights_of(model).items() if "num_batches" not in k}
    check_weights(model, uncounted, "model.pth")
    check_weights(model, {**weights_of(model), "auxiliary.weight": torch.ones(3)}, "model.pth")


def test_missing_weights_and_other_shapes_are_refused_by_name() -> None:
    weights = weights_of(make_model())
    del weights["2.bias"]
    weights["0.weight"] = torch.zeros(4, 5, 1, 1)
    with pytest.raises(InputError) as error:
        check_weights(make_model(), weights, "model.pth")
    message = str(error.value)
    assert "model.pth does not fit the model in 2 weights" in message
    assert "2.bias is missing" in message
    assert "0.weight is 4x5x1x1, the model has 4x3x1x1" in message
    assert "--allow-partial" in message


def test_only_the_first_few_names_are_shown() -> None:
    with pytest.raises(InputError) as error:
        check_weights(make_model(), {}, "model.pth")
    message = str(error.value)
    assert "in 8 weights" in message
    assert message.count("is missing") == 6
    assert "; and 2 more." in message


def test_partial_weights_can_be_allowed_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings = []
    monkeypatch.setattr(fitting, "print_log", lambda message, **_: warnings.append(message))
    check_weights(make_model(), {}, "model.pth", allow_partial=True)
    assert len(warnings) == 1
    assert "model.pth does not fit the model in 8 weights" in warnings[0]


def test_loads_all_weights_and_returns_the_meta(tmp_path: Path) -> None:
    source, model = make_model(), make_model()
    state_dict = {f"module.{name}": weight for name, weight in weights_of(source).items()}
    meta = load_weights(model, save(tmp_path, dict(meta=dict(epoch=3), state_dict=state_dict)))
    assert meta == dict(epoch=3)
    torch.testing.assert_close(weights_of(model), weights_of(source), rtol=0, atol=0)
    assert load_weights(model, save(tmp_path, weights_of(source))) == {}


def test_loads_nothing_of_weights_that_do_not_fit(tmp_path: Path) -> None:
    model = make_model()
    before = weights_of(model)
    weights = {name: weight + 1 for name, weight in before.items()}
    del weights["2.bias"]
    path = save(tmp_path, weights)
    with pytest.raises(InputError, match=r"2\.bias is missing"):
        load_weights(model, path)
    torch.testing.assert_close(weights_of(model), before, rtol=0, atol=0)


def test_loads_what_fits_where_that_is_allowed(tmp_path: Path) -> None:
    model = make_model()
    before = weights_of(model)
    weights = {name: weight + 1 for name, weight in before.items()}
    del weights["2.bias"]
    weights["0.weight"] = torch.zeros(4, 5, 1, 1)
    load_weights(model, save(tmp_path, weights), allow_partial=True)
    after = weights_of(model)
    for name, weight in before.items():
        kept = name in ("2.bias", "0.weight")
        torch.testing.assert_close(after[name], weight if kept else weight + 1)


class Head(nn.Module):
    """Named as a PointRendHead is."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse_head, self.point_head = nn.Linear(2, 3), nn.Linear(3, 3)
        self.misfit: str | None = None


def test_a_part_is_compared_under_its_prefix() -> None:
    head = Head()
    weights = {f"module.decode_head.{k}": w for k, w in head.state_dict().items()}
    others = {"module.backbone.weight": torch.ones(1)}
    assert find_misfit(head, {**weights, **others}, prefix="module.decode_head.") is None
    del weights["module.decode_head.coarse_head.bias"]
    weights["module.decode_head.coarse_head.new"] = torch.ones(1)
    misfit = find_misfit(head, {**weights, **others}, prefix="module.decode_head.")
    assert "decode_head.coarse_head.bias is missing" in misfit
    assert "decode_head.coarse_head.new is not in the model" in misfit


def test_a_point_head_may_be_fresh_where_that_is_said() -> None:
    head = Head()
    coarse = {f"coarse_head.{k}": w for k, w in head.coarse_head.state_dict().items()}
    assert "has yet to be trained" in find_misfit(head, coarse)
    assert find_misfit(head, coarse, fresh_point_head=True) is None
    half = {**coarse, "point_head.bias": torch.ones(3)}
    assert "point_head.weight is missing" in find_misfit(head, half, fresh_point_head=True)


def test_misfits_can_be_accepted() -> None:
    model = nn.ModuleDict(dict(decode_head=Head()))
    model["decode_head"].misfit = "it does not fit"
    accept_misfits(model)
    assert model["decode_head"].misfit is None


def test_the_segmentor_inside_of_wrappers_is_found() -> None:
    model = nn.Module()
    model.decode_head = Head()
    assert bare_segmentor(nn.DataParallel(nn.DataParallel(model))) is model
    assert bare_segmentor(model) is model
