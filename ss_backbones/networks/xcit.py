"""XCiT with a setting for every block: SS-XCiT, and plain XCiT when the settings are uniform."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from timm.layers import trunc_normal_
from timm.models.xcit import LPI, ClassAttentionBlock, ConvPatchEmbed
from torch import Tensor, nn

from ..layers import ACTIVATIONS, Attention, CrossCovarianceAttention, FourierPositions, LocalBlock, UfoAttention
from ..settings import BlockSetting
from .arguments import Settings
from .base import StateDict, run_block
from .columnar import ColumnarNetwork
from .vit import ViTArch

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .arguments import ColumnarArguments

_CLASS_BLOCKS = 2
_PATCHES = (8, 16)
_EPS = 1e-6


@dataclass(frozen=True)
class XCiTArch(ViTArch):
    """The shape of an XCiT; the blocks are those before class attention.

    Args:
        layer_scale: Where the scales of the blocks' branches start.

    The other arguments are those of :class:`~ss_backbones.networks.ViTArch`.

    Raises:
        ValueError: A number is not positive, the width is no multiple of the heads and of the 8 of the stem's first
            convolution, or there are no patches of this size.
    """

    layer_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch_size not in _PATCHES:
            raise ValueError(f'arch: patch_size={self.patch_size} is not possible; the stem makes 8 or 16.')
        if self.embed_dim % 8:
            raise ValueError(f'arch: embed_dim={self.embed_dim} must be a multiple of 8, for the stem.')
        scale = self.layer_scale
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not scale > 0:
            raise ValueError(f'arch: layer_scale={scale!r} must be a number above 0.')


ARCHS: dict[str, XCiTArch] = {
    'tiny_12': XCiTArch(192, 12, 4),
    'tiny_24': XCiTArch(192, 24, 4, layer_scale=1e-5),
    'small_12': XCiTArch(384, 12, 8),
    'small_24': XCiTArch(384, 24, 8, layer_scale=1e-5),
}


def from_official(weights: StateDict) -> StateDict:
    """The keys of the official XCiT: another name of the positions, one layer for class attention's queries, keys and
    values, and the pyramid of its detectors and segmenters."""
    if not any(_OF_XCIT.match(key) for key in weights):
        return weights
    ours: StateDict = {}
    for key, value in weights.items():
        if match := _CLASS_QKV.match(key):
            for name, part in zip('qkv', value.chunk(3), strict=True):
                ours[f'{match[1]}.{name}.{match[2]}'] = part
            continue
        key = key.replace('pos_embeder.', 'pos_embed.')
        ours[_LEVEL.sub(lambda found: f'pyramid.levels.{int(found[1]) - 1}.', key)] = value
    return ours


_OF_XCIT = re.compile(r'^blocks\.\d+\.local_mp\.')
_CLASS_QKV = re.compile(r'^(cls_attn_blocks\.\d+\.attn)\.qkv\.(weight|bias)$')
_LEVEL = re.compile(r'^fpn([1-4])\.')


class XCiT(ColumnarNetwork):
    """A stem of convolutions, then blocks of attention between channels and of convolutions of neighbouring tokens.

    A classifier has a class token and two blocks of class attention after the others; networks with maps have neither.
    Images may have any size: positions follow from it.

    Args:
        arch: 'tiny_12', 'tiny_24', 'small_12', 'small_24', or a dict with the fields of :class:`XCiTArch`.
        settings: See :class:`~ss_backbones.networks.Network`; so are the arguments that are not named here. The local
            convolutions of a block have its activation. Blocks of class attention are plain.
        drop_path_rate: Probability to drop a branch, the same in all blocks.

    Source: XCiT (arXiv 2106.09681); SS ViT (Pattern Recognition 162, 2025, 111422). State-dict keys are timm's.
    """

    archs = ARCHS
    short_name = 'xcit-'
    key_maps = (from_official,)
    mixers = ('attention', 'ufo')
    own_pyramid = 'blocks'
    first_conv = 'patch_embed.proj.0.0'
    rising_drop_path = False

    def __init__(
        self,
        arch: str | Mapping[str, object] = 'tiny_12',
        settings: Settings = 'specific',
        **shared: Unpack[ColumnarArguments],
    ) -> None:
        super().__init__(arch, settings, **shared)
        arch, dim = self.arch, self.arch.embed_dim
        self.patch_embed = ConvPatchEmbed(patch_size=self.patch_size, in_chans=self.in_channels, embed_dim=dim)
        self.pos_embed = FourierPositions(dim)
        self.pos_drop = nn.Dropout(self.proj_drop)
        blocks = []
        for i, setting in enumerate(self.settings[: self.built]):
            parts = self._make_attention(setting), self.make_mlp(dim, setting)
            local = self._make_local(setting)
            blocks.append(LocalBlock(dim, *parts, self.drop_paths[i], local=local, layer_scale=arch.layer_scale))
        self.blocks = nn.ModuleList(blocks)
        self.cls_token = self.cls_attn_blocks = None
        if self.is_classifier:
            self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
            self.cls_attn_blocks = nn.ModuleList(self._make_class_block() for _ in range(_CLASS_BLOCKS))
        else:
            self.not_built += _OF_CLASSIFIERS
        self.make_outputs()
        self.init_own()

    def _make_attention(self, setting: BlockSetting) -> Attention:
        """The attention that a block's setting means."""
        arguments = self.attention_arguments(self.arch.embed_dim, self.arch.num_heads, setting)
        if setting.mixer == 'ufo':
            return UfoAttention(projections='qkv', **arguments)
        return CrossCovarianceAttention(**arguments)

    def _make_local(self, setting: BlockSetting) -> LPI:
        """A block's local patch interaction."""
        return LPI(self.arch.embed_dim, act_layer=ACTIVATIONS[setting.act])

    def _make_class_block(self) -> ClassAttentionBlock:
        return ClassAttentionBlock(
            self.arch.embed_dim,
            self.arch.num_heads,
            self.arch.mlp_ratio,
            qkv_bias=True,
            proj_drop=self.proj_drop,
            attn_drop=self.attn_drop,
            norm_layer=_norm,
            eta=self.arch.layer_scale,
            tokens_norm=True,
        )

    def count_doublings(self) -> int:
        """See :class:`~ss_backbones.networks.columnar.ColumnarNetwork`: the finest level has stride 4."""
        return self.patch_size.bit_length() - 3

    def init_layer(self, layer: nn.Module) -> None:
        """DeiT's initialisation of linear layers; convolutions keep torch's."""
        if isinstance(layer, nn.Linear):
            trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def init_own(self) -> None:
        """See :class:`~ss_backbones.networks.Network`."""
        super().init_own()
        if self.cls_token is not None and not self.cls_token.is_meta:
            trunc_normal_(self.cls_token, std=0.02)
            for block in self.cls_attn_blocks:
                for scale in (block.gamma1, block.gamma2):
                    nn.init.constant_(scale, self.arch.layer_scale)

    def embed(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """See :class:`~ss_backbones.networks.columnar.ColumnarNetwork`."""
        height, width = x.shape[-2:]
        grid = self.grid_of(height, width)
        tokens, _ = self.patch_embed(x)
        return self.pos_drop(tokens + self.pos_embed(tokens, grid)), grid

    def checked(self, x: Tensor) -> Tensor:
        """See :class:`~ss_backbones.networks.Network`; channels-last, so that tokens are views of maps."""
        return super().checked(x).contiguous(memory_format=torch.channels_last)

    def finish_tokens(self, x: Tensor) -> Tensor:
        """See :class:`~ss_backbones.networks.columnar.ColumnarNetwork`: the class token comes, before the patches."""
        if self.cls_attn_blocks is not None:
            x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
            for block in self.cls_attn_blocks:
                x = run_block(block, self.with_cp, x)
        return self.norm(x)

    def drop_class_attention(self) -> None:
        """Become a network without class token and class attention."""
        self.cls_token = self.cls_attn_blocks = None
        self.not_built += _OF_CLASSIFIERS

    def stem(self) -> list[nn.Module | nn.Parameter]:
        """See :class:`~ss_backbones.networks.columnar.ColumnarNetwork`: patches and positions."""
        return [self.patch_embed, self.pos_embed]

    def no_weight_decay(self) -> set[str]:
        """See :class:`~ss_backbones.networks.Network`: class token, positions and temperatures."""
        ends = ('cls_token', 'pos_embed.token_projection.weight', 'attn.temperature')
        return super().no_weight_decay() | {name for name, _ in self.named_parameters() if name.endswith(ends)}


_OF_CLASSIFIERS = ('cls_token', 'cls_attn_blocks.')


def _norm(dim: int, **options: object) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=_EPS, **options)
