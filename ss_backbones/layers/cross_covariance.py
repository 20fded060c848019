"""Attention between channels in place of tokens: its cost grows with the tokens, not with their square."""

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from .attention import Attention
from .fast_paths import HALF, exact_dtype, is_plain, may_merge

_LEAST_NORM = 1e-12
_MANY = 2  # tokens for each channel, from which on the small matrices cost less than they save


class CrossCovarianceAttention(Attention):
    """Every channel of a head becomes a weighted mean of the head's values.

    The weights are a softmax over the cosines of a query's channel and the keys' channels, both taken over all tokens,
    times a learned temperature. Dropout is that of these weights.

    Args:
        dim: See :class:`Attention`.
        num_heads: See :class:`Attention`.
        head_dim: See :class:`Attention`.
        token_bypass: See :class:`Attention`.
        attn_drop: See :class:`Attention`.
        proj_drop: See :class:`Attention`.

    Attributes:
        temperature: (heads, 1, 1).

    Source: XCiT (arXiv 2106.09681, section 3.2); the SS paper (Pattern Recognition 162, 2025, 111422).
    """

    def __init__(self, dim: int, num_heads: int, head_dim: int, **probabilities: float) -> None:
        super().__init__(dim, num_heads, head_dim, **probabilities)
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))

    def _make_inputs(self, dim: int, width: int) -> None:
        self.qkv = nn.Linear(dim, 3 * width)

    def reset_parameters(self) -> None:
        """Initialise the temperatures."""
        nn.init.ones_(self.temperature)

    @property
    def scale(self) -> float:
        """See :class:`Attention`: the temperature is all there is."""
        return 1.0

    def input_layers(self) -> list[nn.Linear | nn.Conv2d]:
        """See :class:`Attention`."""
        return [self.qkv]

    def head_layers(self) -> list[tuple[nn.Linear, int]]:
        """See :class:`Attention`."""
        return [(self.qkv, i * self.num_heads * self.head_dim) for i in range(3)]

    def forward(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """(B, N, C) to (B, N, C); the grid of the tokens makes no difference."""
        return self._merged(x) if self._merging_pays(x) else self._project(self.mix(x))

    def mix(self, x: Tensor, *layout: object) -> Tensor:
        """See :class:`Attention`."""
        weights, v = self.weights_and_values(x)
        if self.training and self.attn_drop:
            weights = F.dropout(weights, self.attn_drop)
        return (v @ weights.to(v.dtype).transpose(-2, -1)).transpose(1, 2).flatten(2)

    def _merging_pays(self, x: Tensor) -> bool:
        """Whether values and output projection had better be one product: for inference, with far more tokens than
        channels; half precision stays as in training, and layers that somebody wants to see or has changed are called.
        """
        if self.training or torch.is_grad_enabled() or not may_merge(x, self.qkv, self.proj):
            return False
        return x.shape[1] >= _MANY * x.shape[2] and is_plain(self.proj_drop, nn.Dropout)

    def _merged(self, x: Tensor) -> Tensor:
        """As :meth:`forward`: the weights A act on channels, so P (A V(x)) = (P A V)(x), a small matrix an image."""
        width = self.num_heads * self.head_dim
        weight, bias = self.qkv.weight, self.qkv.bias
        both = F.linear(x, weight[: 2 * width], bias[: 2 * width])
        q, k = both.unflatten(-1, (2, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4).unbind(0)
        values = torch.cat((weight[2 * width :], bias[2 * width :, None]), dim=1).unflatten(0, (self.num_heads, -1))
        mixed = (self._weights(q, k) @ values).flatten(1, 2)  # (B, W, C + 1), the bias last
        projected = self.proj.weight @ mixed
        projected[..., -1] += self.proj.bias
        first, last = self.split(x, x)
        parts = [(first, projected), (last, mixed)] if last.shape[1] else [(first, projected)]
        return torch.cat([torch.baddbmm(m[:, None, :, -1], t, m[..., :-1].transpose(1, 2)) for t, m in parts], dim=1)

    def _weights(self, q: Tensor, k: Tensor) -> Tensor:
        """(B, heads, N, D) each to (B, heads, D, D), one row for each output."""
        return (_cosines(q, k) * self.temperature).softmax(dim=-1)

    def weights_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of tokens (B, N, C) the weights (B, heads, D, D), one row for each output, and values (B, heads, N, D)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4).unbind(0)
        return self._weights(q, k), v


@fx.wrap  # torch.fx knows no dtypes to decide by
def _cosines(q: Tensor, k: Tensor) -> Tensor:
    """(B, heads, N, D) each to (B, heads, D, D), the cosines of their channels over the tokens."""
    norms = [
        torch.linalg.vector_norm(x, dim=-2, keepdim=True, dtype=exact_dtype(x)).clamp(min=_LEAST_NORM) for x in (q, k)
    ]
    if q.dtype in HALF:  # sums over the tokens could be larger than any number of half precision
        q, k = (x / norm.to(x.dtype) for x, norm in zip((q, k), norms, strict=True))
        return q.transpose(-2, -1) @ k
    # the norms are taken off the small product, not off the tokens
    return q.transpose(-2, -1) @ k / (norms[0].transpose(-2, -1) * norms[1])
