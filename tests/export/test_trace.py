"""PyTorch's graphs of models."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from exporting import picture, pixels
from mmengine.config import ConfigDict
from mmseg.registry import MODELS

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.export.graph import PixelGraph
from mmseg_pointrend.export.onnx_file import Exported
from mmseg_pointrend.export.trace import MAX_TOPK, split_topk, symbolic_sizes, trace
from mmseg_pointrend.rendering.subdivision import Subdivision


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

    with pytest.raises(InputError, match=r"cannot be exported; .* --size H W") as error:
        trace(PixelGraph(exported.graph.model, Halving()).eval())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize("size", [(64, 64), (257, 100), (33, 47), (1024, 17)])
def test_a_known_number_of_steps_changes_nothing(stride: int, size: tuple[int, int]) -> None:
    coarse = tuple(-(-length // stride) for length in size)
    own = Subdivision()
    fixed = replace(own, steps_needed=stride.bit_length() - 1)
    assert fixed.sizes(coarse, size) == own.sizes(coarse, size)
