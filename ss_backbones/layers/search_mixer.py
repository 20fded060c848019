"""Attention that holds its own bottleneck convolutions, with gates between them, as a search has it."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import Attention, SelfAttention
from .conv_mixer import HeadMixing, behind_others, mix_projection, mix_values, norm_name, patches_of
from .fast_paths import is_plain
from .gates import ALWAYS, START, branch_gates, expected, in_order, sample, take_layers
from .window_attention import WindowAttention
from .windows import cut, join, windows_of

CHOICES = ('skip', 'conv1x1', 'conv3x3', 'attention')  # by how many gates are on


class SearchMixer:
    """One set of weights that is an attention, a 3 x 3 or 1 x 1 convolution, or nothing, as the gates say.

    The convolutions are made of the attention's values and output projection as in
    :class:`~ss_backbones.layers.SharedConvMixer`; all three are computed. In training the gates are drawn, see
    :attr:`draws`; in evaluation they are on where their probability is above a half. A skipped block adds nothing,
    while :class:`~ss_backbones.layers.Skip`, with which what was found is trained, adds the first norm's output.

    This is what the kinds of attention have in common then; :func:`searched_mixer` makes one of an attention.

    Attributes:
        mixing: How the heads become the places of the kernels.
        kernel_thresholds: (3,), of the gates for 1 x 1, 3 x 3 and attention, each of which needs those before it.
        head_probs: (num_heads, 9), the logits of the heads' shares.
        draws: (3,), what the gates are drawn with in training: no part of the state dict, and a half at first, with
            which training has the gates of evaluation.

    Source: He et al., "Pruning Self-attentions into Convolutional Layers in Single Path" (SPViT), TPAMI 2024; the
    forward pass, the class token's place in it and the gradients are those of the official code. State-dict keys are
    its too, but for queries, keys and values, which keep their one layer here.
    """

    mixing: HeadMixing
    kernel_thresholds: nn.Parameter
    head_probs: nn.Parameter
    draws: Tensor

    def take(self, attention: Attention, mixing: HeadMixing) -> None:
        """Take the layers of an attention of the same shape, and add all gates, likely on, and even shares of heads."""
        take_layers(self, attention)
        like = {'dtype': self.proj.weight.dtype, 'device': self.proj.weight.device}
        self.mixing = mixing
        self.kernel_thresholds = nn.Parameter(torch.full((3,), START, **like))
        self.head_probs = nn.Parameter(torch.ones(self.num_heads, 9, **like))
        for side in (1, 3):
            self.add_module(norm_name(side), nn.BatchNorm2d(self.head_dim, **like).train(self.training))
        self.register_buffer('draws', torch.full((3,), ALWAYS, **like), persistent=False)

    def branches(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the outputs of attention, 3 x 3 and 1 x 1 convolution are multiplied by."""
        draws = self.draws if self.training else torch.full_like(self.draws, ALWAYS)
        return branch_gates(sample(self.kernel_thresholds, draws))

    @property
    def choice(self) -> str:
        """The mixer that the gates mean, in the word of a :class:`~ss_backbones.BlockSetting`."""
        return CHOICES[int((self.kernel_thresholds > 0).cumprod(0).sum())]

    def convolve(self, image: Tensor, side: int) -> Tensor:
        """The convolution with a kernel of that side: (B, C, H, W) to (B, C, H, W)."""
        shares, values = self.mixing.shares(self.head_probs, side), 2 * self.num_heads * self.head_dim
        kernel, shift = mix_values(self.qkv.weight[values:], self.qkv.bias[values:], shares)
        hidden = F.relu(getattr(self, norm_name(side))(F.conv2d(image, kernel, shift, padding='same')))
        return self.proj_drop(F.conv2d(hidden, mix_projection(self.proj.weight, shares), self.proj.bias))

    def macs(self, grid: tuple[int, int], prefix: int) -> Tensor:
        """Multiply-adds for one image with the gates of :func:`~.gates.expected`, in float64.

        Args:
            grid: Height and width in patches.
            prefix: Tokens before the patches.
        """
        conv1, conv3, attention = self.branch_macs(grid, prefix)
        first, second, third = in_order(expected(self.kernel_thresholds.double()))
        return first * conv1 + second * (conv3 - conv1) + third * (attention - conv3)

    def branch_macs(self, grid: tuple[int, int], prefix: int) -> tuple[int, int, int]:
        """Multiply-adds of the 1 x 1 and the 3 x 3 convolution and of attention; the arguments are those of
        :meth:`macs`."""
        dim, patches = self.proj.out_features, prod(grid)
        # the network that is found has the whole heads' width in its convolutions, whatever attn_ratio is here
        once = dim * (dim // self.num_heads) * patches
        return 2 * once, 10 * once, self.attention_macs(grid, prefix)

    def attention_macs(self, grid: tuple[int, int], prefix: int) -> int:
        """Multiply-adds of the attention; the arguments are those of :meth:`macs`."""
        raise NotImplementedError

    def _linear_macs(self, tokens: int, bypassing: int) -> int:
        """Of queries, keys, values and the output projection."""
        return (4 * tokens - bypassing) * self.num_heads * self.head_dim * self.proj.out_features


class SearchSelfAttention(SearchMixer, SelfAttention):
    """The form that a search gives to :class:`SelfAttention`. Convolutions take no part in its windows."""

    def __init__(self, attention: SelfAttention, mixing: HeadMixing) -> None:
        with torch.device('meta'):
            super().__init__(**_shape_of(attention), window_size=attention.window_size)
        self.take(attention, mixing)

    def forward(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """(B, N, C) to (B, N, C); see :class:`SelfAttention`.

        Raises:
            ValueError: There is no ``grid``.
        """
        if grid is None:
            raise ValueError('A search needs grid, the height and width in patches: it has convolutions.')
        attention, conv3, conv1 = self.branches()
        out, image = attention * super().forward(x, grid), patches_of(x, grid).permute(0, 3, 1, 2)
        for gate, side in ((conv3, 3), (conv1, 1)):
            out = out + gate * behind_others(self.convolve(image, side).permute(0, 2, 3, 1), x, grid)
        return out

    def attention_macs(self, grid: tuple[int, int], prefix: int) -> int:
        """See :class:`SearchMixer`."""
        tokens, window = prod(grid) + prefix, self.window_size
        pairs = tokens**2
        if window is not None and window < max(grid):
            pairs = prod(-(-side // window) for side in grid) * window**2 * (window**2 + prefix) + prefix * tokens
        return self._linear_macs(tokens, self.bypassing(tokens)) + 2 * self.num_heads * self.head_dim * pairs


class SearchWindowAttention(SearchMixer, WindowAttention):
    """The form that a search gives to :class:`WindowAttention`.

    The 3 x 3 convolution sees its (shifted) window alone, with zeros around it, as in the official search; the network
    that is found has it over the whole map.
    """

    def __init__(self, attention: WindowAttention, mixing: HeadMixing) -> None:
        layout = {name: getattr(attention, name) for name in ('window_size', 'shifted', 'scale')}
        with torch.device('meta'):
            super().__init__(**_shape_of(attention), **layout)
        self.take(attention, mixing)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        attention, conv3, conv1 = self.branches()
        layout = (self.window_size, self.shifted)
        inside = cut(x, *layout).unflatten(1, windows_of(x, *layout).shape)
        inside = self.convolve(inside.permute(0, 3, 1, 2), 3).permute(0, 2, 3, 1).flatten(1, 2)
        out = attention * super().forward(x) + conv3 * join(inside, x, *layout)
        return out + conv1 * self.convolve(x.permute(0, 3, 1, 2), 1).permute(0, 2, 3, 1)

    def attention_macs(self, grid: tuple[int, int], prefix: int) -> int:
        """See :class:`SearchMixer`."""
        window = [min(pair) for pair in zip(self.window_size, grid, strict=True)]
        count = prod(-(-size // side) for size, side in zip(grid, window, strict=True))
        area, tokens = prod(window), count * prod(window)
        linear = self._linear_macs(tokens, count * self.bypassing(area))
        return linear + 2 * self.num_heads * self.head_dim * tokens * area


def _shape_of(attention: Attention) -> dict[str, object]:
    """The arguments that an attention of its shape has, whatever its kind."""
    return {
        'dim': attention.proj.out_features,
        'num_heads': attention.num_heads,
        'head_dim': attention.head_dim,
        'token_bypass': attention.token_bypass,
        'attn_drop': attention.attn_drop,
        'proj_drop': attention.proj_drop.p,
    }


_FORMS: dict[type[Attention], type[SearchSelfAttention | SearchWindowAttention]] = {
    SelfAttention: SearchSelfAttention,
    WindowAttention: SearchWindowAttention,
}


def searched_mixer(attention: nn.Module, mixing: HeadMixing) -> SearchSelfAttention | SearchWindowAttention:
    """The form with gates and convolutions of an attention, whose layers and parameters it takes.

    Args:
        attention: A :class:`SelfAttention` or :class:`WindowAttention`.
        mixing: How its heads become the places of the kernels.

    Raises:
        ValueError: It is none, it is searched already, its layers are no plain ones, or its heads are wider than a part
            of the channels.
    """
    form = _FORMS.get(type(attention))
    if form is None:
        raise ValueError(
            f'{type(attention).__name__} cannot be searched: it must be one of '
            f'{", ".join(kind.__name__ for kind in _FORMS)}.'
        )
    if not (is_plain(attention.qkv, nn.Linear) and is_plain(attention.proj, nn.Linear)):
        raise ValueError(
            'The attention has other layers than plain linear ones (or hooks on them), of which no convolutions can be '
            'made. Search the network before it is changed.'
        )
    if attention.num_heads * attention.head_dim > attention.proj.out_features:
        raise ValueError(
            f'The attention has {attention.num_heads} heads of {attention.head_dim} channels, more than the '
            f"block's {attention.proj.out_features}: a search needs attn_ratio up to 1."
        )
    return form(attention, mixing)
