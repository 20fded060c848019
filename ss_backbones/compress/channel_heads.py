"""Heads of attention between channels out of wider ones, and such whose outputs are to bypass the projection.

A change of basis, which the products of an attention between tokens do not notice, would change these softmaxes: a head
keeps some of its channels as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UsageError
from ..layers import CrossCovarianceAttention
from .streams import Layout

_LEAST_STRETCH = 0.05  # so that the projection can undo it


@dataclass(frozen=True)
class ChannelMoments:
    """Means over the images of what heads make, in float64.

    Args:
        outputs: (heads, D), the variances of the heads' outputs.
        values: (heads, D, D), what of the outputs' squares comes of which value: the squared weights times the values'
            variances.
        bypass: Of the tokens that are to bypass the projection the means of outputs f, of f f, of f y and of y, (C,)
            each, y being what is wanted of the attention; None without such tokens.
    """

    outputs: Tensor
    values: Tensor
    bypass: Tensor | None


def observe_channels(
    old: CrossCovarianceAttention, new: CrossCovarianceAttention, batches: Iterable[tuple[Layout, Tensor, Tensor]]
) -> ChannelMoments:
    """What the heads of an attention make; see :func:`.heads.observe_heads` for the arguments."""
    outputs, values, bypass, images, past = 0.0, 0.0, 0.0, 0, 0
    for _, tokens, wanted in batches:
        weights, v = old.weights_and_values(tokens)
        made = v @ weights.transpose(-2, -1)
        images += len(tokens)
        outputs = outputs + made.double().var(dim=2, correction=0).sum(0).cpu()
        spread = v.double().var(dim=2, correction=0)
        values = values + (weights.double().square() * spread[:, :, None]).sum(0).cpu()
        if new.token_bypass and old.head_dim == new.head_dim:
            mixed = made.transpose(1, 2).flatten(2)
            f, y = (new.split(x, tokens)[1].flatten(0, 1).double() for x in (mixed, wanted))
            bypass = bypass + torch.stack([x.sum(0) for x in (f, f * f, f * y, y)]).cpu()
            past += len(f)
    return ChannelMoments(outputs / images, values / images, bypass / past if past else None)


def make_channel_heads(old: CrossCovarianceAttention, new: CrossCovarianceAttention, moments: ChannelMoments) -> None:
    """Give an attention between channels queries, keys, values and an output projection.

    Args:
        old: The attention that they are out of.
        new: The one that gets them.
        moments: What the old heads make.

    Raises:
        UsageError: The new one is wider.
    """
    if new.head_dim > old.head_dim:
        raise UsageError(
            f'Attention between channels with {new.head_dim} in a head cannot be made out of one with {old.head_dim}: '
            'more channels would change the weights of the others. Take settings whose attn_ratio is not larger.'
        )
    heads, wide, width = old.num_heads, old.head_dim, new.head_dim
    proj = old.proj.weight.detach().double().cpu().unflatten(1, (heads, wide))  # (C, heads, D)
    bias = old.proj.bias.detach().double().cpu()
    rows = [
        torch.cat((layer.weight, layer.bias[:, None]), dim=1)[first : first + heads * wide].unflatten(0, (heads, wide))
        for layer, first in old.head_layers()
    ]
    q, k, v = (part.detach().double().cpu() for part in rows)  # (heads, D, C + 1)
    if width < wide:
        # queries go with outputs, and keys with values
        served = proj.square().sum(0) * moments.outputs
        outputs = served.topk(width, dim=1).indices.sort(dim=1).values
        needed = (proj.square().sum(0)[:, :, None] * moments.values).gather(1, outputs[..., None].expand(-1, -1, wide))
        inputs = needed.sum(1).topk(width, dim=1).indices.sort(dim=1).values
        q = q.gather(1, outputs[..., None].expand(-1, -1, q.shape[-1]))
        k, v = (x.gather(1, inputs[..., None].expand(-1, -1, x.shape[-1])) for x in (k, v))
        proj = proj.gather(2, outputs[None].expand(len(proj), -1, -1))
    elif moments.bypass is not None:
        # A head's outputs are means of its values: a scale and a shift that its channels share may be the values'.
        f, ff, fy, y = moments.bypass.unflatten(1, (heads, width)).unbind(0)
        spread, common = (ff - f * f).sum(1), (fy - f * y).sum(1)
        scale = (common / spread.clamp(min=torch.finfo(spread.dtype).tiny)).clamp(min=_LEAST_STRETCH)
        shift = (y - scale[:, None] * f).mean(1)
        v = v * scale[:, None, None]
        v[..., -1] += shift[:, None]
        proj = proj / scale[:, None]
        bias = bias - (proj * shift[:, None]).sum((1, 2))
    for (layer, first), part in zip(new.head_layers(), (q, k, v), strict=True):
        own = slice(first, first + heads * width)
        layer.weight[own], layer.bias[own] = part[..., :-1].flatten(0, 1), part[..., -1].flatten()
    new.proj.weight.copy_(proj.flatten(1))
    new.proj.bias.copy_(bias)
