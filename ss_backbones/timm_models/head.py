"""The linear head of a classifier."""

from torch import nn


def make_head(features: int, num_classes: int) -> nn.Module:
    """A linear layer, or nothing for no classes.

    Raises:
        ValueError: ``num_classes`` is no whole number, or negative.
    """
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 0:
        raise ValueError(f'num_classes={num_classes!r} must be a whole number, 0 for no head.')
    if not num_classes:
        return nn.Identity()
    head = nn.Linear(features, num_classes)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head
