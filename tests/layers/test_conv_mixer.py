"""Convolutions in the place of attention against a slow re-computation, place by place and head by head."""

import math

import pytest
import torch
from plain_layers import assert_same_gradients
from torch import Tensor, nn
from torch.nn import functional as F

from ss_backbones.layers import FusedConvMixer, SharedConvMixer, Skip
from ss_backbones.networks import Network, Swin, ViT

DIM, HEADS, HEIGHT, WIDTH = 12, 3, 4, 5
# what the softmax divides by; the columns of the nine places, which are counted downwards and then to the right
OFFICIAL = {ViT: (0.01, [0, 1, 2, 3, 4, 5, 6, 7, 8]), Swin: (100.0, [1, 2, 3, 4, 0, 5, 6, 7, 8])}


def noisy(mixer: nn.Module) -> nn.Module:
    for name, tensor in mixer.state_dict().items():
        if name.endswith('head_probs'):
            tensor.normal_(1, 0.01)
        elif name.endswith('running_var'):
            tensor.uniform_(0.5, 2)
        elif tensor.is_floating_point():
            tensor.normal_(name.endswith('.1.weight'), 0.5)
    return mixer


def shared(network: type[Network], side: int, **options: float) -> SharedConvMixer:
    return noisy(SharedConvMixer(DIM, HEADS, side, network.head_mixing, **options).double())


def slowly(mixer: SharedConvMixer, x: Tensor, temperature: float, columns: list[int]) -> Tensor:
    """Maps (B, H, W, C) to (B, H, W, C)."""
    batch, height, width, dim = x.shape
    size = dim // HEADS
    logits = mixer.head_probs / temperature
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))
    inner, weight = torch.zeros(batch, height, width, size, dtype=x.dtype), torch.zeros(dim, size, dtype=x.dtype)
    for place in range(9) if mixer.side == 3 else [4]:
        row, column = place % 3, place // 3
        shifted = padded[:, row : row + height, column : column + width]
        total = sum(math.e ** logits[head, columns[place]] for head in range(HEADS))
        for head in range(HEADS):
            share = math.e ** logits[head, columns[place]] / total
            rows = slice(head * size, (head + 1) * size)
            inner = inner + share * (shifted @ mixer.v.weight[rows].t() + mixer.v.bias[rows])
            weight = weight + share * mixer.proj.weight[:, rows]
    norm = getattr(mixer, f'bn_{mixer.side}x{mixer.side}')
    mean, var = norm.running_mean, norm.running_var
    if mixer.training:
        mean, var = inner.mean((0, 1, 2)), inner.var((0, 1, 2), unbiased=False)
    inner = (inner - mean) / (var + 1e-5).sqrt() * norm.weight + norm.bias
    return inner.clamp(min=0) @ weight.t() + mixer.proj.bias


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('side', [1, 3])
@pytest.mark.parametrize('network', OFFICIAL)
def test_the_form_that_is_trained(network: type[Network], side: int, training: bool) -> None:
    mixer = shared(network, side).train(training)
    x = torch.randn(2, HEIGHT, WIDTH, DIM, dtype=torch.float64, requires_grad=True)
    # the mean that a norm takes off in training leaves no gradient to the bias before it, but rounding
    inputs = [x, *(p for name, p in mixer.named_parameters() if name != 'v.bias')]
    assert_same_gradients(mixer(x), slowly(mixer, x, *OFFICIAL[network]), inputs, tolerance=1e-8)


@pytest.mark.parametrize('side', [1, 3])
@pytest.mark.parametrize('network', OFFICIAL)
def test_the_fused_form_is_the_same(network: type[Network], side: int) -> None:
    mixer = shared(network, side).eval()
    fused, x = mixer.fused(), torch.randn(2, HEIGHT, WIDTH, DIM, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fused(x), slowly(mixer, x, *OFFICIAL[network]), rtol=1e-10, atol=1e-12)
    assert set(fused.state_dict()) == {
        *(f'bconv.{i}.{name}' for i in (0, 1, 3) for name in ('weight', 'bias')),
        *(f'bconv.1.{name}' for name in ('running_mean', 'running_var', 'num_batches_tracked')),
    }
    assert not any(p.requires_grad for p in fused.parameters()) and not any(m.training for m in fused.modules())


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_it_is_fused_in_float64_and_keeps_its_dtype(dtype: torch.dtype) -> None:
    mixer = shared(ViT, 3).to(dtype).eval()
    exact, fused = mixer.double().fused().state_dict(), mixer.to(dtype).fused().state_dict()
    assert mixer.head_probs.dtype == dtype
    for key, value in fused.items():
        assert torch.equal(value, exact[key].to(value.dtype)), key
        assert value.dtype == (dtype if value.is_floating_point() else torch.int64)


@pytest.mark.parametrize('tokens_before', [0, 1])
@pytest.mark.parametrize('fused', [False, True])
def test_tokens_are_a_map_behind_what_stands_before_them(fused: bool, tokens_before: int) -> None:
    mixer = shared(ViT, 3).eval()
    mixer = mixer.fused() if fused else mixer
    x = torch.randn(2, tokens_before + HEIGHT * WIDTH, DIM, dtype=torch.float64)
    with torch.no_grad():
        out = mixer(x, (HEIGHT, WIDTH))
        of_map = mixer(x[:, tokens_before:].reshape(2, HEIGHT, WIDTH, DIM)).reshape(2, -1, DIM)
    assert torch.equal(out[:, :tokens_before], x[:, :tokens_before])
    torch.testing.assert_close(out[:, tokens_before:], of_map)


@pytest.mark.parametrize('fused', [False, True])
def test_dropout_is_behind_the_projection(fused: bool) -> None:
    kind = FusedConvMixer(DIM, 4, 1, 0.5) if fused else SharedConvMixer(DIM, HEADS, 1, ViT.head_mixing, 0.5)
    out = kind(torch.randn(2, 8, 8, DIM))
    assert 0.3 < (out == 0).double().mean() < 0.7
    assert not (kind.eval()(torch.randn(2, 8, 8, DIM)) == 0).any()


def test_channels_last_tokens_stay_so_without_a_copy() -> None:
    mixer = FusedConvMixer(32, 8, 3).eval()
    with torch.no_grad():
        assert mixer(torch.randn(2, 8, 8, 32)).is_contiguous()


def test_a_skip_returns_what_it_gets() -> None:
    x = torch.randn(2, 5, 3)
    assert Skip()(x) is x and Skip()(x, (1, 4)) is x and not Skip().state_dict()


def test_a_new_one_shares_evenly() -> None:
    mixer = SharedConvMixer(DIM, HEADS, 3, Swin.head_mixing)
    assert torch.all(mixer.head_probs == 1) and mixer.head_probs.shape == (HEADS, 9)
