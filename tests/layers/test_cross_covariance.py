"""Attention between channels against a re-computation head by head and channel by channel."""

import pytest
import torch
from plain_layers import assert_same_gradients
from torch import Tensor
from torch.nn import functional as F

from ss_backbones import BlockSetting
from ss_backbones.layers import CrossCovarianceAttention

SETTINGS = [BlockSetting(), BlockSetting(attn_ratio=0.5), BlockSetting(attn_split=0.25), BlockSetting(attn_split=0.6)]


def make(setting: BlockSetting, dtype: torch.dtype = torch.float64) -> CrossCovarianceAttention:
    attn = CrossCovarianceAttention(12, 3, int(4 * setting.attn_ratio), token_bypass=setting.attn_split).to(dtype)
    with torch.no_grad():
        attn.temperature.uniform_(0.5, 3)
    return attn


def plainly(attn: CrossCovarianceAttention, x: Tensor, setting: BlockSetting) -> Tensor:
    images = []
    for tokens in x:
        q, k, v = F.linear(tokens, attn.qkv.weight, attn.qkv.bias).chunk(3, dim=-1)
        width, columns = attn.head_dim, []
        for head in range(3):
            own = range(head * width, (head + 1) * width)
            for i in own:
                cosines = [(q[:, i] * k[:, j]).sum() / (q[:, i].norm() * k[:, j].norm()) for j in own]
                weights = (torch.stack(cosines) * attn.temperature[head, 0, 0]).exp()
                columns.append(sum(w * v[:, j] for w, j in zip(weights, own, strict=True)) / weights.sum())
        mixed = torch.stack(columns, dim=1)
        out = F.linear(mixed, attn.proj.weight, attn.proj.bias)
        if bypass := int(len(mixed) * setting.attn_split):
            out = torch.cat((out[:-bypass], mixed[-bypass:]))
        images.append(out)
    return torch.stack(images)


@pytest.mark.parametrize('setting', SETTINGS, ids=['plain', 'narrow', 'quarter bypasses', 'most bypass'])
@pytest.mark.parametrize('tokens', [1, 5, 12, 30])
def test_it_is_the_plain_one(setting: BlockSetting, tokens: int) -> None:
    if setting.attn_split and int(tokens * setting.attn_split) == 0:
        pytest.skip('no token bypasses')
    attn, x = make(setting), torch.randn(2, tokens, 12, dtype=torch.float64)
    x.requires_grad_()
    assert_same_gradients(attn(x), plainly(attn, x, setting), [x, *attn.parameters()])


@pytest.mark.parametrize('setting', SETTINGS, ids=['plain', 'narrow', 'quarter bypasses', 'most bypass'])
@pytest.mark.parametrize('tokens', [23, 24, 100])
def test_values_and_projection_as_one_product(
    setting: BlockSetting, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    attn, x = make(setting).eval(), torch.randn(2, tokens, 12, dtype=torch.float64)
    called = []
    monkeypatch.setattr(attn, 'mix', lambda x: called.append(len(x)) or type(attn).mix(attn, x))
    with torch.no_grad():
        torch.testing.assert_close(attn(x), plainly(attn, x, setting), rtol=1e-11, atol=1e-11)
    assert bool(called) == (tokens < 24)  # two for each channel
    attn(x)  # with gradients
    with torch.no_grad():
        attn.proj.register_forward_hook(lambda *_: None)
        attn(x)
    assert len(called) == 2 + (tokens < 24)


def test_channels_that_are_zero_everywhere_have_no_direction() -> None:
    attn = make(BlockSetting())
    with torch.no_grad():
        attn.qkv.weight.zero_()
        attn.qkv.bias.zero_()
        attn.qkv.bias[24:] = 1.0
    x = torch.randn(1, 4, 12, dtype=torch.float64, requires_grad=True)
    out = attn.mix(x)
    torch.testing.assert_close(out, torch.ones_like(out))  # all channels are equally like one another
    out.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in attn.parameters())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow(dtype: torch.dtype) -> None:
    attn = make(BlockSetting(), torch.float32)
    x = 60 * torch.randn(1, 20_000, 12)  # sums of squares over the tokens are far beyond what float16 can hold
    with torch.no_grad():
        half = attn.to(dtype)(x.to(dtype)).float()
        exact = attn.float()(x)
    assert half.isfinite().all()
    assert (half - exact).norm() < 0.03 * exact.norm()


def test_dropout_is_of_the_weights_and_in_training_alone() -> None:
    attn = CrossCovarianceAttention(12, 3, 4, attn_drop=0.5)
    x = torch.randn(1, 6, 12)
    assert torch.equal(attn.eval()(x), attn.eval()(x))
    assert not torch.equal(attn.train()(x), attn.train()(x))
