import pytest
import torch

from mmseg_pointrend.errors import InputError
from mmseg_pointrend.uncertainty import certainty, check_kind


def gap(values: torch.Tensor) -> torch.Tensor:
    best = values.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


@pytest.mark.parametrize("shape", [(2, 5, 40), (2, 3, 6, 7)])
def test_certainty_is_the_gap_of_logits_or_of_probabilities(shape: tuple[int, ...]) -> None:
    logits = 4 * torch.randn(shape)
    torch.testing.assert_close(certainty(logits), gap(logits))
    torch.testing.assert_close(certainty(logits, "prob_margin"), gap(logits.softmax(dim=1)))


def test_the_two_measures_disagree_where_more_classes_share_the_rest() -> None:
    # the same gap of logits, in one case over two candidates, in the other over many
    logits = torch.tensor([[1.0, 0.0, -9.0, -9.0], [1.0, 0.0, 0.0, 0.0]])
    margin, prob_margin = certainty(logits), certainty(logits, "prob_margin")
    assert margin[0] == margin[1]
    assert prob_margin[0] > prob_margin[1]


def test_the_two_measures_order_points_of_two_classes_alike() -> None:
    logits = torch.randn(1, 2, 200)
    order = certainty(logits).argsort(dim=1)
    assert torch.equal(certainty(logits, "prob_margin").argsort(dim=1), order)


@pytest.mark.parametrize("kind", ["margin", "prob_margin"])
def test_one_channel_is_the_logit_of_a_sigmoid(kind: str) -> None:
    logits = torch.randn(2, 1, 4, 4)
    assert torch.equal(certainty(logits, kind), logits[:, 0].abs())


@pytest.mark.parametrize("kind", ["margin", "prob_margin"])
def test_a_tie_has_no_certainty(kind: str) -> None:
    assert certainty(torch.tensor([[2.0, 2.0, -1.0]]), kind).item() == 0


def test_other_measures_are_refused_by_name() -> None:
    assert check_kind("prob_margin") == "prob_margin"
    with pytest.raises(InputError, match="'entropy' is none of 'margin', 'prob_margin'"):
        check_kind("entropy")
