"""PVTv2 with a setting for every block: SS-PVTv2, and plain PVTv2 when the settings are uniform."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from timm.layers import trunc_normal_
from torch import nn

from ..layers import Attention, Block, OverlapPatchEmbed, SpatialReductionAttention, UfoAttention
from ..settings import BlockSetting, with_linear_attention
from .arguments import Settings, check_flag, check_heads, check_stages, take_any
from .base import StateDict
from .staged import Stage, StagedNetwork

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .arguments import StagedArguments


@dataclass(frozen=True)
class PVTv2Arch:
    """The shape of a PVTv2, one entry a stage.

    Args:
        embed_dims: Channels.
        depths: Blocks.
        num_heads: Attention heads.
        sr_ratios: Spatial reduction of keys and values.
        mlp_ratios: MLP ratios of the plain network (``settings='uniform'``).
        linear: The linear variant: keys and values pooled to 7 x 7.

    Raises:
        ValueError: The lists differ in length, hold no positive numbers, or a width is no multiple of its heads.
    """

    embed_dims: Sequence[int]
    depths: Sequence[int]
    num_heads: Sequence[int] = (1, 2, 5, 8)
    sr_ratios: Sequence[int] = (8, 4, 2, 1)
    mlp_ratios: Sequence[float] = (8, 8, 4, 4)
    linear: bool = False

    def __post_init__(self) -> None:
        check_flag('linear', self.linear)
        check_stages(self, ('embed_dims', 'depths', 'num_heads', 'sr_ratios'), whole=True)
        check_stages(self, ('embed_dims', 'mlp_ratios'))
        check_heads(self.embed_dims, self.num_heads)

    def plain_mlp_ratios(self) -> list[float]:
        """See :class:`~ss_backbones.networks.arguments.Arch`."""
        return [ratio for depth, ratio in zip(self.depths, self.mlp_ratios, strict=True) for _ in range(depth)]


_WIDE = (64, 128, 320, 512)
ARCHS: dict[str, PVTv2Arch] = {
    'b0': PVTv2Arch((32, 64, 160, 256), (2, 2, 2, 2)),
    'b1': PVTv2Arch(_WIDE, (2, 2, 2, 2)),
    'b2': PVTv2Arch(_WIDE, (3, 4, 6, 3)),
    'b2_li': PVTv2Arch(_WIDE, (3, 4, 6, 3), linear=True),
    'b3': PVTv2Arch(_WIDE, (3, 4, 18, 3)),
    'b4': PVTv2Arch(_WIDE, (3, 8, 27, 3)),
    'b5': PVTv2Arch(_WIDE, (3, 6, 40, 3), mlp_ratios=(4, 4, 4, 4)),
}


def from_whai362(weights: StateDict) -> StateDict:
    """The keys of whai362/PVT: ``patch_embed2``, ``block2``, ``norm2``, a module around each depthwise convolution."""
    if not any(_WHAI_STAGE.match(key) and not key.startswith('norm') for key in weights):
        return weights  # Swin's backbones have norm1 as well
    return {
        _WHAI_STAGE.sub(_whai_start, key).replace('.mlp.dwconv.dwconv.', '.mlp.dwconv.'): value
        for key, value in weights.items()
    }


_WHAI_STAGE = re.compile(r'^(patch_embed|block|norm)([1-9])\.')


def _whai_start(match: re.Match[str]) -> str:
    stage = int(match[2]) - 1
    if match[1] == 'patch_embed':
        return f'stages.{stage}.downsample.' if stage else 'patch_embed.'
    return f'stages.{stage}.' + ('blocks.' if match[1] == 'block' else 'norm.')


def from_openmmlab(weights: StateDict) -> StateDict:
    """The keys of mmdet's PVTv2: ``layers.s.0`` is the embedding, ``.1`` the blocks, ``.2`` the norm; stacked qkv."""
    ours: StateDict = {}
    for key, value in weights.items():
        match = _MM_LAYER.match(key)
        if match is None:
            ours[key] = value
            continue
        stage, part, rest = int(match[1]), match[2], match[3]
        if part == '0':
            start = f'stages.{stage}.downsample.' if stage else 'patch_embed.'
            ours[start + rest.replace('projection.', 'proj.')] = value
            continue
        if part == '2':
            ours[f'stages.{stage}.norm.{rest}'] = value
            continue
        name = f'stages.{stage}.blocks.{rest}'
        for theirs, own in _MM_BLOCK.items():
            name = name.replace(theirs, own)
        if '.attn.attn.in_proj_' in name:
            dim = value.shape[0] // 3
            ours[name.replace('attn.attn.in_proj_', 'attn.q.')] = value[:dim]
            ours[name.replace('attn.attn.in_proj_', 'attn.kv.')] = value[dim:]
            continue
        # a 1 x 1 convolution is a linear layer
        ours[name] = value.flatten(1) if value.ndim == 4 and '.mlp.fc' in name else value
    return ours


_MM_LAYER = re.compile(r'^layers\.(\d+)\.([012])\.(.+)$')
_MM_BLOCK = {
    'ffn.layers.0.': 'mlp.fc1.',
    'ffn.layers.1.': 'mlp.dwconv.',
    'ffn.layers.4.': 'mlp.fc2.',
    '.attn.attn.out_proj.': '.attn.proj.',
}


class PVTv2(StagedNetwork):
    """A pyramid of maps at strides 4, 8, 16 and 32, by attention with spatially reduced keys and values.

    Args:
        arch: 'b0', 'b1', 'b2', 'b2_li', 'b3', 'b4', 'b5', or a dict with the fields of :class:`PVTv2Arch`.
        settings: See :class:`~ss_backbones.networks.Network`; so are the arguments that are not named here.
        linear_stages: Stages, rising, all of whose blocks have linear attention, whatever mixer the settings give them:
            it attends to the whole map, nothing is reduced, and time and memory grow with the map as a convolution's
            do. Negative ones count from the end; None for none.

    Source: PVTv2 (arXiv 2106.13797); SS ViT (Pattern Recognition 162, 2025, 111422); linear attention UFO-ViT (arXiv
    2109.14382). State-dict keys are those of the official SS checkpoints.
    """

    archs = ARCHS
    short_name = ''
    key_maps = (from_whai362, from_openmmlab)
    attn_split = 0.0
    mixers = ('attention', 'ufo')

    def __init__(
        self,
        arch: str | Mapping[str, object] = 'b0',
        settings: Settings = 'specific',
        *,
        linear_stages: int | Sequence[int] | None = None,
        **shared: Unpack[StagedArguments],
    ) -> None:
        super().__init__(arch, settings, **shared)
        arch, dims = self.arch, self.arch.embed_dims
        linear = take_any(linear_stages, len(dims), 'stages', 'linear_stages')
        stage_of = [i for i, depth in enumerate(arch.depths) for _ in range(depth)]
        self.settings = with_linear_attention(self.settings, [j for j, i in enumerate(stage_of) if i in linear])
        self.patch_embed = OverlapPatchEmbed(self.in_channels, dims[0], kernel_size=7, stride=4)
        stages = []
        for i in range(self.out_indices[-1] + 1):
            dim, first = dims[i], sum(arch.depths[:i])
            downsample = OverlapPatchEmbed(dims[i - 1], dim, kernel_size=3, stride=2) if i else None
            blocks = []
            for j in range(first, first + arch.depths[i]):
                setting = self.settings[j]
                mlp = self.make_mlp(dim, setting, conv=True, relu_before_conv=arch.linear)
                blocks.append(Block(dim, self._make_attention(i, setting), mlp, self.drop_paths[j]))
            stages.append(Stage(downsample, blocks, dim, self.with_cp))
        self.stages = nn.ModuleList(stages)
        self.init_own()

    def _make_attention(self, stage: int, setting: BlockSetting) -> Attention:
        """The attention that a block's setting means in a stage."""
        arch = self.arch
        arguments = self.attention_arguments(arch.embed_dims[stage], arch.num_heads[stage], setting)
        if setting.mixer == 'ufo':
            return UfoAttention(projections='q+kv', **arguments)
        return SpatialReductionAttention(sr_ratio=arch.sr_ratios[stage], linear=arch.linear, **arguments)

    def init_layer(self, layer: nn.Module) -> None:
        """The initialisation of PVT: small normal linears, convolutions by their fan-out."""
        if isinstance(layer, nn.Linear):
            trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Conv2d):
            fan_out = math.prod(layer.kernel_size) * layer.out_channels // layer.groups
            nn.init.normal_(layer.weight, std=math.sqrt(2.0 / fan_out))
            nn.init.zeros_(layer.bias)

    def smallest_dynamic_side(self) -> int:
        """See :class:`~ss_backbones.networks.Network`: no reducing convolution is larger than its map."""
        sides = [max(block.attn.smallest_map_side() for block in stage.blocks) for stage in self.stages]
        return max(4 * 2**i * (side - 1) + 1 for i, side in enumerate(sides))
