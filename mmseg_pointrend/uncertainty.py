"""How unsure a prediction is at a point."""

from torch import Tensor

from .errors import InputError
from .points import top2_margin

KINDS = ("margin", "prob_margin")


def check_kind(kind: str) -> str:
    """Return ``kind`` if it names a measure of uncertainty, else raise an InputError."""
    if kind not in KINDS:
        raise InputError(f"uncertainty={kind!r} is none of {', '.join(map(repr, KINDS))}.")
    return kind


def certainty(logits: Tensor, kind: str = "margin") -> Tensor:
    """How sure logits are; its negative is the uncertainty that points are picked by.

    Args:
        logits (Tensor): (B, C, ...) logits. One channel is the logit of a sigmoid.
        kind (str): ``'margin'``, the gap between the two largest logits, or ``'prob_margin'``, that
            between the two largest class probabilities. With one channel both mean the absolute
            logit, as they order points alike. Defaults to 'margin'.

    Returns:
        Tensor: (B, ...) values >= 0; zero on a decision boundary.
    """
    if kind == "prob_margin" and logits.shape[1] > 1:
        logits = logits.softmax(dim=1)
    return top2_margin(logits)
