"""PyTorch's graphs of models."""

import time
from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
from exporting import picture, pixels
from mmengine.config import ConfigDict
from mmseg.registry import MODELS

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.export import Exported, exit_after
from mmseg_pointrend.export.graph import PixelGraph
from mmseg_pointrend.export.trace import MAX_TOPK, split_topk, symbolic_sizes, trace


@pytest.mark.parametrize("k", [MAX_TOPK + 1, 2 * MAX_TOPK, 9000])
def test_topk_in_rounds_gives_what_topk_gives(k: int) -> None:
    scores = torch.stack([torch.randperm(9000), torch.randperm(9000)]).float()  # no ties
    values, indices = split_topk(scores, k, dim=1)
    expected = scores.topk(k, dim=1)
    assert torch.equal(values, expected.values)
    assert torch.equal(indices, expected.indices)


def test_topk_in_rounds_takes_no_cell_twice() -> None:
    _, indices = split_topk(torch.zeros(1, 5000), 4500)
    assert indices.unique().numel() == 4500


def test_one_round_stays_as_it_is() -> None:
    assert split_topk(torch.rand(1, 5000), MAX_TOPK) is NotImplemented


def test_layers_that_upsample_give_what_they_gave(tiny_model: Callable[..., ConfigDict]) -> None:
    model = MODELS.build(tiny_model(align_corners=True)).eval()
    graph = PixelGraph(model, logits=True).eval()
    images = pixels(picture(70, 91))
    with torch.no_grad():
        expected = graph(images)[1]
        with symbolic_sizes():
            assert torch.equal(graph(images)[1], expected)


def test_refuses_a_graph_that_holds_for_one_size(exported: Exported) -> None:
    class Halving:
        def resized(self, images: torch.Tensor) -> torch.Tensor:
            return images[..., : int(images.shape[-2]) // 2, :]

    with pytest.raises(InputError, match="This model cannot be exported") as error:
        trace(PixelGraph(exported.graph.model, Halving()).eval())
    assert "\n" not in str(error.value)


def test_a_block_that_does_not_end_is_ended() -> None:
    def swallow_errors_for_ever() -> None:
        while True:
            with suppress(Exception):  # as PyTorch does
                time.sleep(60)

    with pytest.raises(SystemExit, match="error: too long"), exit_after(1, "too long"):
        swallow_errors_for_ever()
    with exit_after(1, "too long"), exit_after(None, "no limit"):
        pass
