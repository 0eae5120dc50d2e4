"""Weights under any names, and files that are not what they were."""

import io
import string
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import strategies as st
from torch import nn

from mmseg_pointrend.checkpoints.fitting import (
    Layout,
    check_weights,
    read_checkpoint,
    to_own_layout,
)
from mmseg_pointrend.errors import InputError

from .examples import holds_for

words = st.text(string.ascii_lowercase + "_", min_size=1, max_size=6)
tails = st.lists(words, min_size=1, max_size=3).map(".".join)
others = st.sets(tails.map("backbone.".__add__), max_size=4)


@st.composite
def own_names(draw: st.DrawFn) -> list[str]:
    """Names of the weights of a model with a PointRendHead."""
    coarse = draw(st.sets(tails, min_size=1, max_size=5))
    point = draw(st.sets(tails, min_size=1, max_size=5))
    names = [*draw(others)]
    names += [f"decode_head.coarse_head.{name}" for name in coarse]
    point = {"fc_seg.weight", *(name for name in point if name[:9] != "conv_seg.")}
    return names + [f"decode_head.point_head.{name}" for name in point]


def cascade_names(names: list[str]) -> list[str]:
    return [name.replace(".coarse_head.", ".0.").replace(".point_head.", ".1.") for name in names]


@holds_for(150, own_names(), st.sampled_from(["", "module."]))
def test_names_come_back_from_every_layout(names: list[str], prefix: str) -> None:
    head = f"{prefix}decode_head."
    own = {prefix + name: k for k, name in enumerate(names)}
    assert to_own_layout(own, head) == (own, Layout.POINTREND)
    cascade = dict(zip([prefix + name for name in cascade_names(names)], own.values(), strict=True))
    assert to_own_layout(cascade, head) == (own, Layout.CASCADE)
    coarse_only = {k: v for k, v in own.items() if ".point_head." not in k}
    plain = {k.replace(".coarse_head.", ".", 1): v for k, v in coarse_only.items()}
    renamed, layout = to_own_layout(plain, head)
    if layout is Layout.COARSE:  # unless a part of it is named as ours are
        assert renamed == coarse_only


class Segmentor(nn.Module):
    """As much of a segmentor as there are weights to compare."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
        self.decode_head = nn.Conv2d(2, 4, 1)
        self.auxiliary_head = nn.Linear(2, 2)


@holds_for(100, st.data())
def test_weights_that_do_not_fit_are_noticed(data: st.DataObject) -> None:
    model = Segmentor()
    weights = dict(model.state_dict())
    optional = ("auxiliary_head.", "backbone.1.num_batches_tracked")
    needed = [name for name in weights if not name.startswith(optional)]
    name = data.draw(st.sampled_from(needed))
    change = data.draw(st.sampled_from(["missing", "other shape", "other name", "none"]))
    if change == "other shape":
        weights[name] = torch.zeros(data.draw(st.lists(st.integers(5, 9), max_size=4)))
        if weights[name].shape == model.state_dict()[name].shape:
            change = "none"
    elif change == "other name":
        weights[f"{name}_"] = weights.pop(name)
    elif change == "missing":
        del weights[name]
    if change == "none":
        check_weights(model, weights, "x.pth")
        return
    with pytest.raises(InputError, match=r"x\.pth does not fit the model in [12] weights"):
        check_weights(model, weights, "x.pth")


def checkpoint_bytes(legacy: bool) -> bytes:
    file = io.BytesIO()
    content = dict(meta=dict(iter=3), state_dict={"decode_head.x": torch.arange(40.0)})
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


@holds_for(150, st.booleans(), st.floats(0, 1, exclude_max=True))
def test_truncated_checkpoints_are_refused(legacy: bool, share: float) -> None:
    whole = checkpoint_bytes(legacy)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pth"
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match=r"x\.pth") as error:
            read_checkpoint(path)
    assert "\n" not in str(error.value)


@holds_for(
    150,
    st.booleans(),
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8
    ),
)
def test_damaged_checkpoints_are_read_or_refused(
    legacy: bool, damages: list[tuple[float, int]]
) -> None:
    content = bytearray(checkpoint_bytes(legacy))
    for share, value in damages:
        content[int(share * len(content))] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pth"
        path.write_bytes(content)
        with suppress(InputError):
            read_checkpoint(path)
