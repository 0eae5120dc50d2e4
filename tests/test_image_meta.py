import pytest
import torch

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.image_meta import unflipped


@pytest.mark.parametrize(
    ("direction", "dims"), [("horizontal", [1]), ("vertical", [0]), ("diagonal", [0, 1])]
)
def test_flips_are_undone(direction: str, dims: list[int]) -> None:
    labels = torch.arange(12).reshape(3, 4)
    meta = dict(flip=True, flip_direction=direction)
    assert torch.equal(unflipped(labels.flip(dims), meta), labels)


def test_an_unknown_flip_is_refused() -> None:
    labels = torch.arange(12).reshape(3, 4)
    assert torch.equal(unflipped(labels, dict(flip=False, flip_direction=None)), labels)
    for meta in (dict(flip=True), dict(flip=True, flip_direction="transposed")):
        with pytest.raises(InputError, match="horizontal, vertical, diagonal"):
            unflipped(labels, meta)
