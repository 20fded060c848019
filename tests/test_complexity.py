"""Counting of multiply-adds; the figures of all networks are in networks/test_backbones.py."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ss_backbones.complexity import complexity


class _Attention(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.fused:
            return F.scaled_dot_product_attention(x, x, x)
        return (x @ x.transpose(-2, -1)).softmax(-1) @ x


def test_attention_counts_the_same_whichever_way() -> None:
    shape = (2, 3, 10, 16)
    by_hand = 2 * (2 * 3 * 10 * 10 * 16)
    assert complexity(_Attention(fused=True), shape).macs == by_hand
    assert complexity(_Attention(fused=False), shape).macs == by_hand


def test_the_model_is_left_as_it_is() -> None:
    model = nn.Conv2d(3, 4, 3).train()
    complexity(model, (1, 3, 8, 8))
    assert model.training and model.weight.device.type == 'cpu'


@pytest.mark.parametrize('shape', [(3, 224, 224), (1, 3, 0, 5)])
def test_bad_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match='must be'):
        complexity(nn.Conv2d(3, 4, 3), shape)
