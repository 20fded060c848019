import pytest
import timm
import torch
from table import MODELS, Row
from torch import nn
from torch.nn import functional as F

import ss_backbones
from ss_backbones.complexity import complexity


@pytest.mark.parametrize('row', MODELS, ids=lambda row: row.name)
def test_parameters_and_multiply_adds_to_the_last_digit(row: Row) -> None:
    for settings, params, gmacs in (
        ('specific', row.params, row.gmacs),
        ('uniform', row.plain_params, row.plain_gmacs),
    ):
        found = complexity(timm.create_model(row.name, settings=settings))
        assert str(found) == f'{gmacs:.3f} GMACs, {params:.3f} M parameters'


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


def test_a_backbone_in_bf16_costs_the_same() -> None:
    models = [ss_backbones.SSPVTv2('b0', bf16=bf16) for bf16 in (False, True)]
    assert complexity(models[0], (1, 3, 64, 64)) == complexity(models[1], (1, 3, 64, 64))
