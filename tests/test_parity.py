"""The networks against independent results: the official models' outputs, timm, and plain re-computations."""

import numpy as np
import pytest
import reference
import timm
import torch
from plain_attention import attend_plainly
from reference import needs_reference
from table import MODELS, Row
from torch import Tensor
from torch.nn import functional as F

import ss_backbones
from ss_backbones import BlockSetting
from ss_backbones.layers import ConvMlp, Mlp, SpatialReductionAttention
from ss_backbones.networks import PVTv2


@needs_reference
@pytest.mark.parametrize('name', ['ss_pvt_v2_b0', 'ss_vit_tiny_patch16_224'])
def test_the_official_outputs(name: str) -> None:
    model = timm.create_model(name).double().eval()
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert shapes == reference.keys_and_shapes(name)
    assert ss_backbones.load_weights(model, reference.weights(name, model)).share == 1
    maps = ss_backbones.SSPVTv2('b0').double().eval()
    if 'pvt' in name:
        ss_backbones.load_weights(maps, model.state_dict())
    with torch.no_grad():
        for image, logits, features in reference.cases(name):
            np.testing.assert_allclose(model(image).numpy(), logits, rtol=1e-9, atol=1e-11)
            ours = maps(image) if 'pvt' in name else model.forward_tokens(image, after=(0, 1, 6, 11))[1]
            for feature, expected in zip(ours, features, strict=True):
                reference.check(feature, *expected)


@pytest.mark.parametrize('row', MODELS, ids=lambda row: row.name)
def test_uniform_settings_are_the_plain_network(row: Row) -> None:
    arguments = dict(dynamic_img_size=True, dynamic_img_pad=True) if 'vit' in row.name else {}
    theirs = timm.create_model(row.plain, num_classes=10, **arguments).double().eval()
    with torch.no_grad():  # timm's own initialisation leaves the norms and biases at 1 and 0, where a mix-up hides
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter) * parameter.std().nan_to_num(1.0).clamp(min=0.1))
    ours = timm.create_model(row.name, settings='uniform', num_classes=10).double().eval()
    assert ss_backbones.load_weights(ours, theirs.state_dict()).share == 1
    x = torch.randn(1, 3, 65, 48, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)


SETTINGS = [
    BlockSetting(),
    BlockSetting(mlp_ratio=3, act='ReLU', attn_ratio=0.5),
    BlockSetting(pos_scale=1.5),
    BlockSetting(pos_scale=2, mlp_split=0.5, attn_split=0.25),
    BlockSetting(mlp_split=0.25),
]


def plain_mlp(mlp: Mlp, x: Tensor, setting: BlockSetting, drop: float = 0.0) -> Tensor:
    """The MLP as the paper writes it: the ramp on every token, the bypass by concatenation."""
    hidden = F.linear(x, mlp.fc1.weight, mlp.fc1.bias)
    if isinstance(mlp, ConvMlp):
        if mlp.relu_before_conv:
            hidden = hidden.clamp(min=0)
        image = hidden.permute(0, 3, 1, 2).contiguous()
        image = F.conv2d(image, mlp.dwconv.weight, mlp.dwconv.bias, padding=1, groups=image.shape[1])
        hidden = image.permute(0, 2, 3, 1).contiguous()  # dropout draws in the order of the memory
    hidden = F.gelu(hidden) if setting.act == 'GELU' else hidden.clamp(min=0)
    width = hidden.shape[-1]
    if setting.pos_scale:
        hidden = hidden + torch.linspace(0, setting.pos_scale, width, dtype=torch.float32).to(hidden.dtype)
    hidden = F.dropout(hidden, drop, training=drop > 0)
    past = int(x.shape[-1] * setting.mlp_split)
    out = F.linear(hidden[..., : width - past], mlp.fc2.weight, mlp.fc2.bias)
    return F.dropout(torch.cat((out, hidden[..., width - past :]), dim=-1), drop, training=drop > 0)


@pytest.mark.parametrize('drop', [0.0, 0.3])
@pytest.mark.parametrize('kind', ['mlp', 'conv', 'conv with relu'])
@pytest.mark.parametrize('setting', SETTINGS, ids=repr)
def test_mlp_is_the_plain_one_in_training(setting: BlockSetting, kind: str, drop: float) -> None:
    mlp = Mlp(16, setting, drop) if kind == 'mlp' else ConvMlp(16, setting, drop, relu_before_conv='relu' in kind)
    mlp = mlp.double().train()
    x = torch.randn(2, 5, 7, 16, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(1)
    ours = mlp(x)
    torch.manual_seed(1)
    plain = plain_mlp(mlp, x, setting, drop)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    # The same gradients too: the ramp in the bias must reach the weights that it went through.
    inputs, probe = [x, *mlp.parameters()], torch.randn_like(ours)
    for ours_grad, plain_grad in zip(
        torch.autograd.grad((ours * probe).sum(), inputs),
        torch.autograd.grad((plain * probe).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours_grad, plain_grad, rtol=1e-11, atol=1e-11)


def plain_attention(attn: SpatialReductionAttention, x: Tensor, setting: BlockSetting) -> Tensor:
    """Attention with the whole matrix written out, one head after the other."""
    b, h, w, c = x.shape
    tokens = x.reshape(b, h * w, c)
    source = tokens
    if attn.sr is not None:
        image = x.permute(0, 3, 1, 2).contiguous()
        if attn.linear:
            image = F.adaptive_avg_pool2d(image, 7)
        image = F.conv2d(image, attn.sr.weight, attn.sr.bias, stride=attn.sr.stride)
        source = F.layer_norm(image.flatten(2).transpose(1, 2), (c,), attn.norm.weight, attn.norm.bias, 1e-5)
        if attn.linear:
            source = F.gelu(source)
    q = F.linear(tokens, attn.q.weight, attn.q.bias)
    k, v = F.linear(source, attn.kv.weight, attn.kv.bias).split(q.shape[-1], dim=-1)
    out = attend_plainly(q, k, v, attn.num_heads, attn.proj, setting.attn_split)
    return out.reshape(b, h, w, c)


@pytest.mark.parametrize(('sr_ratio', 'linear'), [(1, False), (2, False), (8, False), (4, True)])
@pytest.mark.parametrize('setting', SETTINGS, ids=repr)
def test_attention_is_the_plain_one(setting: BlockSetting, sr_ratio: int, linear: bool) -> None:
    attn = SpatialReductionAttention(32, 2, setting, sr_ratio=sr_ratio, linear=linear).double()
    x = torch.randn(2, 9, 13, 32, dtype=torch.float64)
    torch.testing.assert_close(attn(x), plain_attention(attn, x, setting), rtol=1e-11, atol=1e-11)


def test_a_map_smaller_than_the_reduction_repeats_its_border() -> None:
    attn = SpatialReductionAttention(16, 1, BlockSetting(), sr_ratio=4).double()
    x = torch.randn(1, 3, 6, 16, dtype=torch.float64)
    below = torch.cat((x, x[:, -1:]), dim=1)  # one row more, the last one again; the width is enough
    torch.testing.assert_close(attn(x), attn(below)[:, :3], rtol=1e-12, atol=1e-12)


def test_every_setting_changes_the_network() -> None:
    # A number that is read and then ignored would pass every test of shapes.
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    base = PVTv2('b0', 'uniform').double().eval()
    for change in (dict(act='ReLU'), dict(pos_scale=1.0), dict(attn_split=0.5)):
        settings = [BlockSetting(**{'mlp_ratio': r, **change}) for r in (8, 8, 8, 8, 4, 4, 4, 4)]
        other = PVTv2('b0', settings).double().eval()
        other.load_state_dict(base.state_dict(), strict=False)
        assert (base(x)[-1] - other(x)[-1]).abs().max() > 1e-4, change
