import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer, MMLogger
from torch import nn

from mmseg_pointrend.checkpoints import check_weights, load_weights, read_checkpoint
from mmseg_pointrend.errors import InputError


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


class HiddenGetattr:
    """Looks up a function by getattr, as a pickled HistoryBuffer does with its own methods."""

    def __init__(self, owner: object, name: str) -> None:
        self.owner = owner
        self.name = name

    def __reduce__(self) -> tuple:
        return getattr, (self.owner, self.name)


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


def test_reading_changes_nothing_for_later_readers(checkpoint: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    read_checkpoint(checkpoint)
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        b"hello\nthis is text",
        b"PK\x03\x04 not a zip",
        b"\x80\x02.",
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_checkpoint(path)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    assert "not a whole checkpoint" in message
    # PyTorch's advice is to switch the protection off
    assert "weights_only" not in message


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=60), st.booleans())
def test_no_bytes_whatever_end_in_another_error(
    tmp_path: Path, content: bytes, pickled: bool
) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(b"\x80\x02" + content if pickled else content)
    with pytest.raises(InputError):
        read_checkpoint(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "model.pth"
    torch.save(weights_of(make_model()), path, _use_new_zipfile_serialization=zipped)
    assert read_checkpoint(path)["state_dict"].keys() == make_model().state_dict().keys()
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match="not a whole checkpoint"):
            read_checkpoint(path)


def test_a_missing_checkpoint_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.pth", tmp_path):
        with pytest.raises(InputError, match="no such checkpoint file"):
            read_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), 5])
def test_other_content_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(InputError, match=f"holds a {type(content).__name__}"):
        read_checkpoint(save(tmp_path, content))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    target = tmp_path / "touched"
    path = tmp_path / "model.pth"
    content = dict(state_dict=weights_of(make_model()), extra=Malicious(target))
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=rf"is refused: .*{os.mkdir.__module__}\.mkdir") as error:
        read_checkpoint(path)
    assert "weights_only" not in str(error.value)
    assert not target.exists()
    # what the file does to those who trust it
    torch.load(path, weights_only=False)
    assert target.exists()


@pytest.mark.parametrize(
    ("owner", "name"), [(HistoryBuffer, "__init__"), (torch.Tensor, "mean"), (dict, "fromkeys")]
)
def test_getattr_reaches_only_the_methods_of_the_log(
    tmp_path: Path, owner: type, name: str
) -> None:
    path = save(tmp_path, dict(state_dict={}, extra=HiddenGetattr(owner, name)))
    with pytest.raises(InputError, match="is refused"):
        read_checkpoint(path)


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
    assert message.count("is missing") == 4
    assert "; ..." in message


def test_partial_weights_can_be_allowed_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings = []
    monkeypatch.setattr(MMLogger, "warning", lambda _logger, message: warnings.append(message))
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
