"""An attention's heads out of another's that has other widths, or another bypass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import Attention
from .low_rank import query_key_pair, value_projection_pair
from .streams import Layout

_RIDGE = 1e-4  # of the mean square of a head's outputs, where they are turned into what bypasses the projection
_LEAST_STRETCH = 0.05  # of the largest, so that the projection can undo it


@dataclass(frozen=True)
class HeadMoments:
    """Means over the tokens of what a head makes, in float64.

    Args:
        queries: (heads, D, D), of q q'.
        keys: (heads, D, D), of k k', each k about its mean in its image or window.
        outputs: (heads, D, D), the covariance of the heads' outputs.
        bypass: (1 + W, 1 + W + C), of the tokens that are to bypass the projection: of f f' and f y', f being a 1 and
            the outputs of all heads, y what is wanted of the attention.
    """

    queries: Tensor
    keys: Tensor
    outputs: Tensor
    bypass: Tensor


def observe_heads(old: Attention, new: Attention, batches: Iterable[tuple[Layout, Tensor, Tensor]]) -> HeadMoments:
    """What the heads of an attention make.

    Args:
        old: The attention.
        new: The one that gets heads out of these.
        batches: Of layouts, tokens as the attention gets them, and what is wanted of it (B, N, C).
    """
    heads, width = old.num_heads, old.head_dim
    total, made = heads * width, {}
    (q_layer, q_first), (k_layer, k_first), _ = old.head_layers()

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        made[layer] = output.flatten(1, -2)

    hooks = [layer.register_forward_hook(note) for layer in {q_layer, k_layer}]
    sums = [torch.zeros(heads, width, width, dtype=torch.float64) for _ in range(3)]
    mean = torch.zeros(heads, width, dtype=torch.float64)
    bypass = torch.zeros(1 + total, 1 + total + old.proj.out_features, dtype=torch.float64)
    counts = [0, 0]
    for layout, tokens, wanted in batches:
        mixed = old.mix(tokens, *layout)
        q = made[q_layer][..., q_first : q_first + total].unflatten(-1, (heads, width))
        k = made[k_layer][..., k_first : k_first + total].unflatten(-1, (heads, width))
        o = mixed.unflatten(-1, (heads, width))
        for into, x in zip(sums, (q, k - k.mean(1, keepdim=True), o), strict=True):
            x = x.double()
            into += torch.einsum('bnhi,bnhj->hij', x, x).cpu()
        mean += o.double().sum((0, 1)).cpu()
        counts = [count + x.shape[0] * x.shape[1] for count, x in zip(counts, (q, k), strict=True)]
        past, wanted_past = (new.split(x, tokens)[1].flatten(0, 1) for x in (mixed, wanted))
        f = F.pad(past, (1, 0), value=1.0).double()
        bypass += (f.t() @ torch.cat((f, wanted_past.double()), dim=1)).cpu()
    for hook in hooks:
        hook.remove()
    mean /= counts[0]
    outputs = sums[2] / counts[0] - mean[:, :, None] * mean[:, None]
    return HeadMoments(sums[0] / counts[0], sums[1] / counts[1], outputs, bypass)


def make_heads(old: Attention, new: Attention, moments: HeadMoments, generator: torch.Generator) -> None:
    """Give an attention queries, keys, values and an output projection.

    Args:
        old: The attention that they are out of.
        new: The one that gets them.
        moments: What the old heads make.
        generator: For what is drawn where the new one is wider.
    """
    heads, wide, width = old.num_heads, old.head_dim, new.head_dim
    q, k, v = (_rows(old, i) for i in range(3))  # (heads, D, C + 1)
    proj, bias = old.proj.weight.double().cpu(), old.proj.bias.double().cpu()
    proj = proj.unflatten(1, (heads, wide)).transpose(0, 1)  # (heads, C, D)
    if width < wide:
        pairs = [query_key_pair(moments.queries[h], moments.keys[h], width) for h in range(heads)]
        for_q, for_k = (torch.stack(side) for side in zip(*pairs, strict=True))
        q, k = for_q @ q, for_k @ k
        pairs = [value_projection_pair(moments.outputs[h], proj[h], width) for h in range(heads)]
        for_v, proj = (torch.stack(side) for side in zip(*pairs, strict=True))
        v = for_v @ v
    elif width > wide:
        q, proj = F.pad(q, (0, 0, 0, width - wide)), F.pad(proj, (0, width - wide))
        k, v = (with_drawn_rows(part, width, generator) for part in (k, v))
    elif new.token_bypass:
        order, maps, shifts = _heads_for_bypass(moments.bypass, heads)
        q, k, v = q[order], k[order], maps @ v[order]
        v[..., -1] += shifts  # of the outputs as well, as attention takes means of values
        proj = torch.linalg.solve(maps, proj[order], left=False)
        bias = bias - torch.einsum('hcd,hd->c', proj, shifts)
    q = q * (old.scale / new.scale)  # that of the softmax may go with the width
    for (layer, first), part in zip(new.head_layers(), (q, k, v), strict=True):
        rows = slice(first, first + heads * width)
        layer.weight[rows], layer.bias[rows] = part[..., :-1].flatten(0, 1), part[..., -1].flatten()
    new.proj.weight.copy_(proj.transpose(0, 1).flatten(1))
    new.proj.bias.copy_(bias)


def with_drawn_rows(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(..., R, C) to (..., count, C): more rows are drawn, as large as the others are."""
    shape = (*rows.shape[:-2], count - rows.shape[-2], rows.shape[-1])
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64).to(rows)
    return torch.cat((rows, drawn * rows.square().mean().sqrt()), dim=-2)


def _rows(attention: Attention, index: int) -> Tensor:
    """The layer of queries, keys or values by heads, with the bias: (heads, D, C + 1), in float64 on the CPU."""
    layer, first = attention.head_layers()[index]
    rows = slice(first, first + attention.num_heads * attention.head_dim)
    both = torch.cat((layer.weight[rows], layer.bias[rows, None]), dim=1).double().cpu()
    return both.unflatten(0, (attention.num_heads, attention.head_dim))


def _heads_for_bypass(moments: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Heads whose outputs are near to what is wanted of the attention, without a projection.

    The outputs of a head become D of the channels, which ones is free: a head and its channels are taken together where
    the least is left over, the best pair first.

    Args:
        moments: See :class:`HeadMoments`.
        heads: Their number.

    Returns:
        For each new head the number of the old one (heads,), and a map (heads, D, D) and a shift (heads, D) of its
        values; the maps are invertible.
    """
    size = len(moments)
    width = (size - 1) // heads
    gains, fits = torch.zeros(heads, heads, dtype=torch.float64), {}
    for old in range(heads):
        rows = torch.cat((torch.tensor([0]), 1 + old * width + torch.arange(width)))
        matrix = moments[rows][:, rows]
        matrix.diagonal()[1:].add_(_RIDGE * matrix.diagonal()[1:].mean())
        for new in range(heads):
            wanted = moments[rows, size + new * width : size + (new + 1) * width]
            fit = torch.linalg.solve(matrix, wanted)
            gains[old, new], fits[old, new] = (fit[1:] * wanted[1:]).sum(), fit
    order, maps, shifts = torch.zeros(heads, dtype=torch.long), torch.zeros(heads, width, width).double(), []
    for _ in range(heads):
        old, new = divmod(int(gains.argmax()), heads)
        gains[old], gains[:, new] = -torch.inf, -torch.inf
        order[new] = old
    for new in range(heads):
        fit = fits[int(order[new]), new]
        left, stretch, right = torch.linalg.svd(fit[1:].t())
        maps[new] = left * stretch.clamp(min=_LEAST_STRETCH * stretch.max()) @ right
        shifts.append(fit[0])
    return order, maps, torch.stack(shifts)
