"""What an attention gets of another's heads before anything is fitted to it."""

import pytest
import torch
from torch import Tensor

from ss_backbones.compress.heads import make_heads, observe_heads
from ss_backbones.layers import SelfAttention

pytestmark = pytest.mark.usefixtures('float64')

DIM, HEADS, WIDTH, GRID = 12, 3, 4, (4, 5)
TOKENS = GRID[0] * GRID[1]


@pytest.fixture
def old() -> SelfAttention:
    attention = SelfAttention(DIM, HEADS, WIDTH).eval()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return attention


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(10, TOKENS, DIM, generator=generator) for _ in range(3)]


@torch.no_grad()
def made(
    old: SelfAttention, wanted: list[Tensor] | None = None, width: int = WIDTH, bypass: float = 0.0
) -> SelfAttention:
    new = SelfAttention(DIM, HEADS, width, token_bypass=bypass).eval()
    wanted = [old(x, GRID) for x in images()] if wanted is None else wanted
    batches = (((GRID,), x, y) for x, y in zip(images(), wanted, strict=True))
    make_heads(old, new, observe_heads(old, new, batches), torch.Generator().manual_seed(0))
    return new


@torch.no_grad()
def test_tokens_that_are_projected_stay_as_they_are(old: SelfAttention) -> None:
    new = made(old, bypass=0.25)
    x, first = torch.randn(2, TOKENS, DIM), TOKENS - TOKENS // 4
    torch.testing.assert_close(new(x, GRID)[:, :first], old(x, GRID)[:, :first], rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_tokens_that_bypass_the_projection_get_the_heads_that_come_nearest(old: SelfAttention) -> None:
    """Here exactly: what is wanted is a shuffle of the heads, each through a matrix of its own and shifted."""
    maps, shifts = torch.randn(HEADS, WIDTH, WIDTH), torch.randn(HEADS, WIDTH)
    order = [2, 0, 1]

    def exact(x: Tensor) -> Tensor:
        heads = old.mix(x, GRID).unflatten(-1, (HEADS, WIDTH))[:, :, order]
        return (torch.einsum('hij,bnhj->bnhi', maps, heads) + shifts).flatten(2)

    new = made(old, [exact(x) for x in images()], bypass=0.25)
    x, first = torch.randn(2, TOKENS, DIM), TOKENS - TOKENS // 4
    left = new(x, GRID)[:, first:] - exact(x)[:, first:]
    assert left.square().mean() < 1e-4 * exact(x).square().mean()


@torch.no_grad()
def test_what_all_keys_share_does_not_count(old: SelfAttention) -> None:
    """It changes no softmax, so it must not take up one of the few channels."""
    narrow = made(old, width=2)
    x = torch.randn(2, TOKENS, DIM)
    before = narrow(x, GRID)
    old.qkv.bias[HEADS * WIDTH : 2 * HEADS * WIDTH] += 30 * torch.randn(HEADS * WIDTH)
    torch.testing.assert_close(made(old, width=2)(x, GRID), before, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_a_head_of_low_rank_loses_nothing_with_its_width(old: SelfAttention) -> None:
    for first in (0, HEADS * WIDTH, 2 * HEADS * WIDTH):  # two of four channels repeat the others
        for h in range(HEADS):
            rows = slice(first + h * WIDTH, first + (h + 1) * WIDTH)
            for part in (old.qkv.weight, old.qkv.bias):
                part[rows][2:] = part[rows][:2].clone()
    x = torch.randn(2, TOKENS, DIM)
    torch.testing.assert_close(made(old, width=2)(x, GRID), old(x, GRID), rtol=1e-9, atol=1e-9)
