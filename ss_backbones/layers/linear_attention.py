"""Linear attention without softmax (UFO): the time and the memory grow with the number of tokens, not its square."""

import torch
from torch import Tensor, fx, nn

from .attention import Attention
from .fast_paths import exact_dtype, may_merge

PROJECTIONS = ('heads', 'qkv', 'q+kv')
KV_AXES = {'key': -2, 'value': -1}
_EPS = 1e-12  # of a norm, as in torch's normalize


class XNorm(nn.Module):
    """A learned scale for every head, times x over its L2 norm along one axis; what is zero stays zero.

    Args:
        num_heads: Number of heads.

    Attributes:
        gamma: (heads,), the scales, 1 at first; the paper's start is not known here.

    Source: UFO-ViT (arXiv 2109.14382), "cross-normalisation".
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(num_heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise anew."""
        nn.init.ones_(self.gamma)

    def forward(self, x: Tensor, dim: int) -> Tensor:
        """(B, heads, n, m) to the same, normalised along ``dim``, -1 or -2."""
        return scaled_normal(x, self.gamma, dim)

    def extra_repr(self) -> str:
        """For print."""
        return f'num_heads={len(self.gamma)}'


@fx.wrap  # torch.fx knows no dtype to decide by
def scaled_normal(x: Tensor, gamma: Tensor, dim: int) -> Tensor:
    """What :class:`XNorm` computes: (B, heads, n, m), (heads,) to (B, heads, n, m)."""
    exact = exact_dtype(x)
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True, dtype=exact).clamp_min(_EPS)
    return (x * (gamma.to(exact)[:, None, None] / norm)).to(x.dtype)


class HeadLinear(nn.Module):
    """A linear layer for every head by itself, on its share of the channels: one with a block-diagonal weight.

    Args:
        dim: Channels C in, a multiple of ``num_heads``.
        num_heads: Number of heads.
        head_dim: Channels D out, for each head.

    Attributes:
        weight: (heads, D, C / heads).
        bias: (heads * D,).

    Raises:
        ValueError: ``dim`` is no multiple of ``num_heads``.
    """

    def __init__(self, dim: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'{dim} channels cannot be shared by {num_heads} heads; make them a multiple.')
        self.weight = nn.Parameter(torch.empty(num_heads, head_dim, dim // num_heads))
        self.bias = nn.Parameter(torch.empty(num_heads * head_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise anew, as the linear layers of vision transformers are."""
        nn.init.trunc_normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, N, heads * D)."""
        heads = x.unflatten(2, (self.weight.shape[0], -1)).transpose(1, 2)
        return (heads @ self.weight.transpose(1, 2)).transpose(1, 2).flatten(2) + self.bias.to(x.dtype)

    def extra_repr(self) -> str:
        """For print."""
        heads, width, share = self.weight.shape
        return f'dim={heads * share}, num_heads={heads}, head_dim={width}'


class UfoAttention(Attention):
    """Multi-head attention out = XN(Q) XN(K'V), of tokens in any layout.

    Without a softmax, K'V of a head is a D x D matrix, whatever the number of tokens: every output channel is the
    cosine of the query and a column of it, times two learned scales. There are no attention weights, so nothing scales
    products, and ``attn_drop`` is taken for the sake of the signature that all attention has, and drops nothing.

    The paper leaves some of it open to its readers; each reading is one argument:

    Args:
        dim: See :class:`Attention`.
        num_heads: See :class:`Attention`.
        head_dim: See :class:`Attention`.
        projections: What makes Q, K and V. 'heads', the default: a block-diagonal layer for each, in which a head sees
            its own channels alone (layers ``q``, ``k``, ``v``), the only reading that the published numbers of
            parameters fit. 'qkv': all channels of all heads in one layer ``qkv``, as in ViT; 'q+kv': in two layers
            ``q`` and ``kv``, as in PVTv2, so that weights of these have a place.
        kv_axis: The axis along which K'V is normalised. 'key', the default: the one that is contracted with Q, as the
            paper's formula has it (axis 0 of K'V), so that outputs are cosines; 'value': the other one, the last, as a
            widely copied piece of code has it.
        share_gamma: One scale of each head for Q and K'V, as that code has it. False, the default, gives each of the
            two its own, as each is an XNorm in the formula.
        token_bypass: See :class:`Attention`.
        attn_drop: Drops nothing, see above.
        proj_drop: See :class:`Attention`.

    Raises:
        ValueError: A word is unknown, or ``projections='heads'`` meets a ``dim`` that is no multiple of ``num_heads``.

    Source: Song, UFO-ViT (arXiv 2109.14382, section 3); the token bypass is the SS paper's.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        *,
        projections: str = 'heads',
        kv_axis: str = 'key',
        share_gamma: bool = False,
        token_bypass: float = 0.0,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        for name, word, known in (('projections', projections, PROJECTIONS), ('kv_axis', kv_axis, KV_AXES)):
            if word not in known:
                raise ValueError(f'{name}={word!r} is not known; take one of {", ".join(known)}.')
        super().__init__(dim, num_heads, head_dim, token_bypass=token_bypass, attn_drop=attn_drop, proj_drop=proj_drop)
        self.projections, self.kv_axis = projections, kv_axis
        width = num_heads * head_dim
        if projections == 'heads':
            self.q, self.k, self.v = (HeadLinear(dim, num_heads, head_dim) for _ in range(3))
        elif projections == 'qkv':
            self.qkv = nn.Linear(dim, 3 * width)
        else:
            self.q, self.kv = nn.Linear(dim, width), nn.Linear(dim, 2 * width)
        self.q_norm = XNorm(num_heads)
        self.kv_norm = None if share_gamma else XNorm(num_heads)

    def _make_inputs(self, dim: int, width: int) -> None:
        """The constructor makes them, which knows the projections."""

    @property
    def scale(self) -> float:
        """See :class:`Attention`: nothing."""
        return 1.0

    def input_layers(self) -> list[nn.Linear | nn.Conv2d]:
        """See :class:`Attention`; none of torch's own where heads see their own channels alone."""
        return list(dict.fromkeys(layer for layer, _ in self.head_layers()))

    def head_layers(self) -> list[tuple[nn.Linear, int]]:
        """See :class:`Attention`; none where heads see their own channels alone."""
        width = self.num_heads * self.head_dim
        if self.projections == 'heads':
            return []
        if self.projections == 'qkv':
            return [(self.qkv, i * width) for i in range(3)]
        return [(self.q, 0), (self.kv, 0), (self.kv, width)]

    def smallest_map_side(self) -> int:
        """The side of the map from which on no kernel is larger than the map: there is none."""
        return 1

    def forward(self, x: Tensor, *layout: object) -> Tensor:
        """(B, N, C) or (B, H, W, C) to the same; nothing of the layout matters, nor whether there is a class token."""
        out = self._at_once(x.flatten(1, -2)) if self._may_be_at_once(x) else self._project(self.mix(x))
        return out.reshape(x.shape)

    def mix(self, x: Tensor, *layout: object) -> Tensor:
        """See :class:`Attention`."""
        q, k, v = (self._heads(part) for part in self._inputs(x.flatten(1, -2)))
        kv = self._normalised(keys_by_values(k, v)).to(q.dtype)
        return (self.q_norm(q, -1) @ kv).transpose(1, 2).flatten(2)

    def _inputs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, N, heads * D) of tokens (B, N, C)."""
        if self.projections == 'heads':
            return self.q(x), self.k(x), self.v(x)
        if self.projections == 'qkv':
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            return q, k, v
        k, v = self.kv(x).chunk(2, dim=-1)
        return self.q(x), k, v

    def _heads(self, x: Tensor) -> Tensor:
        """(B, N, heads * D) to a (B, heads, N, D) view."""
        return x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def _normalised(self, kv: Tensor) -> Tensor:
        """K'V of every head, (B, heads, D, D)."""
        norm = self.q_norm if self.kv_norm is None else self.kv_norm
        return norm(kv, KV_AXES[self.kv_axis])

    def _may_be_at_once(self, x: Tensor) -> bool:
        """Whether :meth:`_at_once` pays and gives the numbers of the layers."""
        if self.projections == 'heads' or not may_merge(x, *self.input_layers(), self.proj):
            return False
        # with fewer tokens than channels the products of weights would be most of the work
        return x.shape[-1] <= x.shape[1:-1].numel()

    def _at_once(self, x: Tensor) -> Tensor:
        """The same with neither keys nor values: (B, N, C) to (B, N, C).

        K = X Wk + 1 bk and so on make K'V a product of weights with X'X, which is one pass over the tokens, and all
        that follows the normalised queries is one matrix, that of the output projection included. Less than half of the
        work is left, and for the backward pass the tokens and the queries are kept.
        """
        heads, width = (self.num_heads, self.head_dim), self.num_heads * self.head_dim
        rows = [(layer.weight[i : i + width], layer.bias[i : i + width]) for layer, i in self.head_layers()]
        (q_weight, q_bias), *keys_and_values = rows
        (k_weight, k_bias), (v_weight, v_bias) = (
            (weight.unflatten(0, heads), bias.unflatten(0, heads)) for weight, bias in keys_and_values
        )
        total = x.sum(1)[:, None, None]  # (B, 1, 1, C)
        by_x = k_weight @ (x.transpose(1, 2) @ x)[:, None] + k_bias[..., None] * total  # K'X
        k_sum = (k_weight * total).sum(-1) + x.shape[1] * k_bias  # K'1
        kv = self._normalised(by_x @ v_weight.transpose(1, 2) + k_sum[..., None] * v_bias[:, None])
        after = (kv @ self.proj.weight.unflatten(1, heads).permute(1, 2, 0)).flatten(1, 2)  # (B, heads * D, C)

        q = self._heads(nn.functional.linear(x, q_weight, q_bias))
        q = self.q_norm(q, -1).transpose(1, 2).flatten(2)
        first, last = self.split(q, x)
        out = torch.baddbmm(self.proj.bias, first, after)
        if last.shape[1]:
            out = torch.cat((out, (self._heads(last) @ kv).transpose(1, 2).flatten(2)), dim=1)
        return self.proj_drop(out)


class UfoClassAttention(UfoAttention):
    """What the first token, the class token, alone makes of all tokens; see :class:`UfoAttention` for the arguments.

    Source: UFO-ViT (arXiv 2109.14382); class attention is CaiT's (arXiv 2103.17239, section 3).
    """

    def forward(self, x: Tensor, *layout: object) -> Tensor:
        """(B, N, C) to (B, 1, C)."""
        q, k, v = (self._heads(part) for part in self._inputs(x))
        kv = self._normalised(keys_by_values(k, v)).to(q.dtype)
        return self.proj_drop(self.proj((self.q_norm(q[:, :, :1], -1) @ kv).transpose(1, 2).flatten(2)))


@fx.wrap  # torch.fx knows no dtype to decide by
def keys_by_values(k: Tensor, v: Tensor) -> Tensor:
    """K'V of every head: twice (B, heads, N, D) to (B, heads, D, D), in float32 where it comes in float16.

    There a sum over so many tokens has no place.
    """
    if k.dtype != torch.float16:
        return k.transpose(2, 3) @ v
    if not torch.is_autocast_enabled(k.device.type):
        return k.float().transpose(2, 3) @ v.float()
    with torch.autocast(k.device.type, enabled=False):
        return k.float().transpose(2, 3) @ v.float()
