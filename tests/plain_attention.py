"""Attention as a plain and slow re-computation, for whatever attention computes it otherwise."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def attend_plainly(
    q: Tensor, k: Tensor, v: Tensor, num_heads: int, proj: nn.Linear, attn_split: float, sees: Tensor | None = None
) -> Tensor:
    """Attention with the whole matrix written out, head by head, then the projection that the last tokens skip.

    ``q``, ``k`` and ``v`` are (B, N, width); what a token may not see is False in ``sees`` (N, N).
    """
    size = q.shape[-1] // num_heads
    heads = []
    for start in range(0, q.shape[-1], size):
        part = slice(start, start + size)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(size)
        if sees is not None:
            scores = scores.masked_fill(~sees, -math.inf)
        heads.append(scores.softmax(-1) @ v[..., part])
    out = torch.cat(heads, dim=-1)
    keep = out.shape[1] - int(out.shape[1] * attn_split)
    projected = F.linear(out[:, :keep], proj.weight, proj.bias)
    return torch.cat((projected, out[:, keep:]), dim=1) if keep < out.shape[1] else projected
