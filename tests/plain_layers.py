"""Layers as plain and slow re-computations, and the layers of this package that a setting means."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ss_backbones import BlockSetting
from ss_backbones.layers import Mlp

SETTINGS = [
    BlockSetting(),
    BlockSetting(mlp_ratio=3, act='ReLU', attn_ratio=0.5),
    BlockSetting(pos_scale=1.5),
    BlockSetting(pos_scale=2, mlp_split=0.5, attn_split=0.25),
    BlockSetting(mlp_split=0.25),
    BlockSetting(pos_scale=2, mlp_split=0.5, ramp='bias'),
]
MLPS = {'mlp': {}, 'conv': dict(conv=True), 'conv with relu': dict(conv=True, relu_before_conv=True)}


def make_mlp(setting: BlockSetting, kind: str = 'mlp', drop: float = 0.0, dim: int = 16) -> Mlp:
    """The numbers that a setting means for a width; ``kind`` is one of MLPS."""
    return Mlp(
        dim,
        int(dim * setting.mlp_ratio),
        act=setting.act,
        bypass=int(dim * setting.mlp_split),
        ramp=setting.pos_scale,
        ramp_as=setting.ramp,
        drop=drop,
        **MLPS[kind],
    )


def mlp_plainly(mlp: Mlp, x: Tensor, setting: BlockSetting, drop: float = 0.0) -> Tensor:
    """The MLP as the paper writes it: the ramp on every token, the bypass by concatenation."""
    hidden = F.linear(x, mlp.fc1.weight, mlp.fc1.bias)
    if mlp.dwconv is not None:
        if mlp.relu_before_conv:
            hidden = hidden.clamp(min=0)
        image = hidden.permute(0, 3, 1, 2).contiguous()
        image = F.conv2d(image, mlp.dwconv.weight, mlp.dwconv.bias, padding=1, groups=image.shape[1])
        hidden = image.permute(0, 2, 3, 1).contiguous()  # dropout draws in the order of the memory
    hidden = F.gelu(hidden) if setting.act == 'GELU' else hidden.clamp(min=0)
    width = hidden.shape[-1]
    if setting.pos_scale and setting.ramp == 'paper':
        hidden = hidden + torch.linspace(0, setting.pos_scale, width, dtype=torch.float32).to(hidden.dtype)
    hidden = F.dropout(hidden, drop, training=drop > 0)
    bypass = int(x.shape[-1] * setting.mlp_split)
    out = F.linear(hidden[..., : width - bypass], mlp.fc2.weight, mlp.fc2.bias)
    past = hidden[..., width - bypass :]
    if mlp.bypass_bias is not None:
        past = past + mlp.bypass_bias.to(past.dtype)
    return F.dropout(torch.cat((out, past), dim=-1), drop, training=drop > 0)


def attend_plainly(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    num_heads: int,
    proj: nn.Linear,
    attn_split: float,
    sees: Tensor | None = None,
    bias: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Attention with the whole matrix written out, head by head, then the projection that the last tokens bypass.

    ``q``, ``k`` and ``v`` are (B, N, width); what a token may not see is False in ``sees`` (N, N); ``bias`` (heads, N,
    N) is added to the products, which are scaled by the heads' width unless ``scale`` is given.
    """
    size = q.shape[-1] // num_heads
    heads = []
    for head, start in enumerate(range(0, q.shape[-1], size)):
        part = slice(start, start + size)
        scores = q[..., part] @ k[..., part].transpose(1, 2) * (scale or 1 / math.sqrt(size))
        if bias is not None:
            scores = scores + bias[head]
        if sees is not None:
            scores = scores.masked_fill(~sees, -math.inf)
        heads.append(scores.softmax(-1) @ v[..., part])
    out = torch.cat(heads, dim=-1)
    keep = out.shape[1] - int(out.shape[1] * attn_split)
    projected = F.linear(out[:, :keep], proj.weight, proj.bias)
    return torch.cat((projected, out[:, keep:]), dim=1) if keep < out.shape[1] else projected


def assert_same_gradients(ours: Tensor, plain: Tensor, inputs: list[Tensor], tolerance: float = 1e-10) -> None:
    """Two results and their gradients by all inputs, which a random vector stands for."""
    torch.testing.assert_close(ours, plain, rtol=tolerance, atol=tolerance)
    probe = torch.randn_like(ours)
    for ours_grad, plain_grad in zip(
        torch.autograd.grad((ours * probe).sum(), inputs),
        torch.autograd.grad((plain * probe).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours_grad, plain_grad, rtol=tolerance, atol=tolerance)
