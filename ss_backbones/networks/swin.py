"""Swin with a setting for every block: SS-Swin, and plain Swin when the settings are uniform."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from timm.layers import PatchEmbed, trunc_normal_
from torch import Tensor, nn
from torchvision.ops import Permute

from ..layers import Block, HeadLayer, PatchMerging, WindowAttention
from ..layers.window_attention import resize_table, table_length
from ..settings import BlockSetting
from . import spvit
from .arguments import Settings, check_count, check_heads, check_stages, height_and_width
from .base import StateDict, run_block
from .staged import StagedNetwork

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .arguments import StagedArguments

_EPS = 1e-5  # of all norms
PATCH = 4
_TABLE = 'relative_position_bias_table'


@dataclass(frozen=True)
class SwinArch:
    """The shape of a Swin; the lists have one entry a stage.

    Args:
        embed_dim: Channels of the first stage; every other one has twice as many as the one before.
        depths: Blocks; every second one of a stage has shifted windows.
        num_heads: Attention heads.
        mlp_ratio: MLP ratio of the plain network (``settings='uniform'``).

    Raises:
        ValueError: The lists differ in length, hold no positive numbers, or a width is no multiple of its heads.
    """

    embed_dim: int
    depths: Sequence[int]
    num_heads: Sequence[int] = (3, 6, 12, 24)
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        check_count('arch: embed_dim', self.embed_dim)
        check_stages(self, ('depths', 'num_heads'), whole=True)
        check_heads(self.embed_dims, self.num_heads)
        BlockSetting(mlp_ratio=self.mlp_ratio)  # says what is wrong with it

    @property
    def embed_dims(self) -> list[int]:
        """Channels by stage."""
        return [self.embed_dim * 2**i for i in range(len(self.depths))]

    def plain_mlp_ratios(self) -> list[float]:
        """See :class:`~ss_backbones.networks.arguments.Arch`."""
        return [self.mlp_ratio] * sum(self.depths)

    def widths(self) -> list[int]:
        """See :class:`~ss_backbones.networks.arguments.Arch`."""
        return [dim for dim, depth in zip(self.embed_dims, self.depths, strict=True) for _ in range(depth)]


ARCHS: dict[str, SwinArch] = {
    'tiny': SwinArch(96, (2, 2, 6, 2)),
    'small': SwinArch(96, (2, 2, 18, 2)),
    'base': SwinArch(128, (2, 2, 18, 2), (4, 8, 16, 32)),
}


def from_timm(weights: StateDict) -> StateDict:
    """The keys of timm's Swin, where a stage begins with its merging, and of its classifier's head."""
    if not any(_OF_SWIN.match(key) for key in weights):
        return weights
    late = any(_MERGING.match(key) for key in weights) and not any(
        k.startswith('layers.0.downsample.') for k in weights
    )
    ours: StateDict = {}
    for key, value in weights.items():
        if late:
            key = _MERGING.sub(lambda match: f'layers.{int(match[1]) - 1}.downsample.', key)
        ours[key.replace('head.fc.', 'head.') if key.startswith('head.fc.') else key] = value
    return ours


_OF_SWIN = re.compile(r'^layers\.\d+\.blocks\.\d+\.attn\.relative_position_bias_table$')
_MERGING = re.compile(r'^layers\.([1-9]\d*)\.downsample\.')


def from_detection(weights: StateDict) -> StateDict:
    """The norm of the last map as the official repositories for detection and segmentation call it."""
    stages = [int(match[1]) for key in weights if (match := _OFFICIAL.match(key))]
    return _rename_last_norm(weights, max(stages)) if stages else weights


_OFFICIAL = re.compile(r'^layers\.(\d+)\.blocks\.\d+\.attn\.relative_position_index$')


def from_openmmlab(weights: StateDict) -> StateDict:
    """The keys of the Swin of mmdetection, mmsegmentation and mmpretrain; their merging has its channels in another
    order."""
    stages = [int(match[1]) for key in weights if (match := _MM_BLOCK.match(key))]
    if not stages:
        return weights
    ours: StateDict = {}
    for key, value in _rename_last_norm(weights, max(stages)).items():
        name = key.replace('patch_embed.projection.', 'patch_embed.proj.')
        if match := _MM_STAGE.match(name):
            name = f'layers.{match[1]}.{match[2]}'
            for theirs, own in _MM_PARTS.items():
                name = name.replace(theirs, own)
            if match[2] in ('downsample.norm.weight', 'downsample.norm.bias', 'downsample.reduction.weight'):
                value = _merged_by_place(value)
        ours[name.replace('head.fc.', 'head.') if name.startswith('head.fc.') else name] = value
    return ours


_MM_BLOCK = re.compile(r'^stages\.(\d+)\.blocks\.\d+\.attn\.w_msa\.')
_MM_STAGE = re.compile(r'^stages\.(\d+)\.(.+)$')
_MM_PARTS = {'.attn.w_msa.': '.attn.', '.ffn.layers.0.0.': '.mlp.fc1.', '.ffn.layers.1.': '.mlp.fc2.'}


def _merged_by_place(value: Tensor) -> Tensor:
    """(..., 4 C), channel by channel the places (0, 0), (0, 1), (1, 0), (1, 1), to the order of PatchMerging."""
    places = value.unflatten(-1, (-1, 4)).transpose(-1, -2)
    return places[..., [0, 2, 1, 3], :].flatten(-2)


def _rename_last_norm(weights: StateDict, last: int) -> StateDict:
    start = f'norm{last}.'
    return {f'norm.{k.removeprefix(start)}' if k.startswith(start) else k: value for k, value in weights.items()}


class SwinStage(nn.Module):
    """Blocks at one resolution, and the merging that comes before the next stage.

    Args:
        blocks: The blocks.
        downsample: The merging, which whoever runs the next stage calls; None where there is none.
        with_cp: See :class:`~ss_backbones.networks.Network`.
    """

    def __init__(self, blocks: Sequence[Block], downsample: PatchMerging | None, with_cp: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample
        self.as_map = Permute([0, 3, 1, 2])  # under a name of its own, by which torch.fx finds the map
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, C, H, W), channels-last in memory."""
        for block in self.blocks:
            x = run_block(block, self.with_cp, x)
        return self.as_map(x)


class Swin(StagedNetwork):
    """A pyramid of maps at strides 4, 8, 16 and 32, by attention in windows of which every second one is shifted.

    Each returned map has a norm of its own: ``norm0``, ``norm1`` and so on, and ``norm``, as in a classifier, for the
    map of the last stage.

    Args:
        arch: 'tiny', 'small', 'base', or a dict with the fields of :class:`SwinArch`.
        settings: See :class:`~ss_backbones.networks.Network`; so are the arguments that are not named here.
        img_size: Side, or height and width, of the images that the windows are made for, in pixels: in a stage whose
            map of such an image is smaller than the window, windows are as large as the map. Images of all sizes can be
            given.
        window_size: Side, or height and width, of the windows in tokens.

    Attributes:
        img_size: Height and width in pixels.
        window_size: Height and width in tokens.

    Source: Swin (arXiv 2103.14030); SS ViT (Pattern Recognition 162, 2025, 111422); SPViT (TPAMI 2024). State-dict keys
    are those of the official SS checkpoints, without what follows from the sizes.
    """

    archs = ARCHS
    short_name = 'swin-'
    stage_list = 'layers'
    backbone_keys = tuple(f'norm{i}.' for i in range(9))
    named_settings = spvit.SWIN
    mixers = spvit.MIXERS
    head_mixing = spvit.SWIN_MIXING
    key_maps = (from_detection, from_openmmlab, from_timm, spvit.from_official)
    official_keys = (spvit.to_official,)
    computed_keys = ('.attn.relative_position_index', '.attn_mask', *spvit.COMPUTED_KEYS)

    def __init__(
        self,
        arch: str | Mapping[str, object] = 'tiny',
        settings: Settings = 'specific',
        *,
        img_size: int | Sequence[int] = 224,
        window_size: int | Sequence[int] = 7,
        **shared: Unpack[StagedArguments],
    ) -> None:
        super().__init__(arch, settings, **shared)
        dims, depths = self.arch.embed_dims, self.arch.depths
        self.img_size = height_and_width('img_size', img_size)
        self.window_size = height_and_width('window_size', window_size, 'a number of tokens')
        self.patch_embed = PatchEmbed(
            img_size=self.img_size,
            patch_size=PATCH,
            in_chans=self.in_channels,
            embed_dim=dims[0],
            norm_layer=partial(nn.LayerNorm, eps=_EPS),
            output_fmt='NHWC',
            strict_img_size=False,
            dynamic_img_pad=True,  # an image whose sides are no multiples of the patch is filled up with zeros
        )
        self.pos_drop = nn.Dropout(self.proj_drop)
        last, stages = self.out_indices[-1], []
        for i in range(last + 1):
            first = sum(depths[:i])
            blocks = [self._make_block(i, j, self.settings[first + j], first + j) for j in range(depths[i])]
            downsample = PatchMerging(dims[i], dims[i + 1]) if i < last else None
            stages.append(SwinStage(blocks, downsample, self.with_cp))
        self.layers = nn.ModuleList(stages)
        norms = {i: self._norm_name(i) for i in range(len(dims))}
        for i in self.out_indices:
            self.add_module(norms[i], nn.LayerNorm(dims[i], eps=_EPS))
        self.not_built += (
            f'layers.{last}.downsample.',
            *(f'{name}.' for i, name in norms.items() if i not in self.out_indices),
        )
        self.init_own()

    def _make_block(self, stage: int, place: int, setting: BlockSetting, number: int) -> Block:
        dim, heads = self.arch.embed_dims[stage], self.arch.num_heads[stage]
        attn = self.make_mixer(dim, heads, setting) or WindowAttention(
            window_size=self._window_of(stage),
            shifted=place % 2 == 1,
            scale=(dim // heads) ** -0.5,  # of the whole width, as in the official code
            **self.attention_arguments(dim, heads, setting),
        )
        return Block(dim, attn, self.make_mlp(dim, setting), self.drop_paths[number], norm_eps=_EPS)

    def _window_of(self, stage: int) -> tuple[int, int]:
        """Height and width of a stage's windows."""
        step = PATCH * 2**stage
        return tuple(min(side, -(-size // step)) for side, size in zip(self.window_size, self.img_size, strict=True))

    def _norm_name(self, stage: int) -> str:
        """What the norm of a stage's map is called, whether there is one or not."""
        return 'norm' if stage == len(self.arch.embed_dims) - 1 else f'norm{stage}'

    def init_layer(self, layer: nn.Module) -> None:
        """Small normal linears; convolutions keep torch's initialisation."""
        if isinstance(layer, nn.Linear | HeadLayer):
            trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def resize_windows(
        self, img_size: int | Sequence[int] | None = None, window_size: int | Sequence[int] | None = None
    ) -> None:
        """Take other windows, or those for images of another size; tables are resized from the own ones (bicubic).

        Args:
            img_size: Side, or height and width, in pixels; None for no change.
            window_size: Side, or height and width, in tokens; None for no change.

        Raises:
            ValueError: One is neither.
        """
        size = self.img_size if img_size is None else height_and_width('img_size', img_size)
        if window_size is not None:
            self.window_size = height_and_width('window_size', window_size, 'a number of tokens')
        self.img_size = size
        self.patch_embed.set_input_size(size)
        for i, stage in enumerate(self.layers):
            for block in stage.blocks:
                if isinstance(block.attn, WindowAttention):
                    block.attn.set_window_size(self._window_of(i))

    def count_for_search(self, height: int, width: int) -> tuple[list[tuple[int, int]], int]:
        """See :class:`~ss_backbones.networks.Network`."""
        grid, grids = (-(-height // PATCH), -(-width // PATCH)), []
        first = math.prod(grid)
        # what the official code has for the norm after the last stage goes with the patches of the first
        outside = first * (self.patch_embed.proj.weight.numel() + self.arch.embed_dim)
        outside += self.arch.embed_dims[len(self.layers) - 1] * first // 16
        for dim, stage in zip(self.arch.embed_dims, self.layers, strict=False):
            grids += [grid] * len(stage.blocks)
            outside += 2 * dim * math.prod(grid) * len(stage.blocks)
            if stage.downsample is not None:
                grid = (-(-grid[0] // 2), -(-grid[1] // 2))
                outside += math.prod(grid) * (4 * dim + stage.downsample.reduction.weight.numel())
        return grids, outside

    def adapt_weights(self, weights: StateDict) -> list[str]:
        """See :class:`~ss_backbones.networks.Network`: tables of relative positions of other, square windows."""
        done: Counter[str] = Counter()
        for name, attn in self.named_modules():
            if not isinstance(attn, WindowAttention):
                continue
            theirs = weights.get(key := f'{name}.{_TABLE}')
            if theirs is None or theirs.ndim != 2 or theirs.shape[1] != attn.num_heads:
                continue
            side = (math.isqrt(len(theirs)) + 1) // 2
            square, own = (side, side), attn.window_size
            if len(theirs) == table_length(own) or len(theirs) != table_length(square) or not side:
                continue
            weights[key] = resize_table(theirs, own, square)
            done[f'windows of {side} x {side} to {own[0]} x {own[1]}'] += 1
        resized = [f'{count} {_TABLE} ({what})' for what, count in done.items()]
        return [*resized, *spvit.fuse_weights(weights, self)]

    def enter_stage(self, index: int, x: Tensor) -> Tensor:
        """See :class:`~ss_backbones.networks.staged.StagedNetwork`: (B, H, W, C)."""
        return self.layers[index - 1].downsample(x) if index else self.pos_drop(x.permute(0, 2, 3, 1))

    def finish_map(self, index: int, x: Tensor) -> Tensor:
        """See :class:`~ss_backbones.networks.staged.StagedNetwork`: with its norm, unless a classifier lost it."""
        norm = getattr(self, self._norm_name(index), None)
        return x if norm is None else norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def keep_stages(self, count: int, *, with_norm: bool = True) -> None:
        """See :class:`~ss_backbones.networks.staged.StagedNetwork`; the norm is for the last stage's map alone."""
        pruned = count < len(self.layers)
        super().keep_stages(count)
        if pruned:
            self.layers[-1].downsample = None
            self.not_built += (f'layers.{count - 1}.downsample.',)
        if pruned or not with_norm:
            del self.norm
            self.not_built += ('norm.',)

    def block_input(self, index: int, x: Tensor) -> Tensor:
        """See :class:`~ss_backbones.networks.Network`: (B, H, W, C) between the blocks."""
        if index == 0:
            return self.pos_drop(self.patch_embed(self.checked(x)))
        for stage, _ in pairwise(self.layers):
            index -= len(stage.blocks)
            if index == 0:
                return stage.downsample(x.permute(0, 3, 1, 2))
        return x

    def checked(self, x: Tensor) -> Tensor:
        """See :class:`~ss_backbones.networks.Network`; channels-last, so that the tokens are a view of the map."""
        return super().checked(x).contiguous(memory_format=torch.channels_last)

    def freezable(self) -> list[list[nn.Module | nn.Parameter]]:
        """See :class:`~ss_backbones.networks.Network`: a stage with its merging and the norm of its map."""
        parts = super().freezable()
        for i in self.out_indices:
            parts[i + 1].append(getattr(self, self._norm_name(i)))
        return parts

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """See :class:`~ss_backbones.networks.Network`. A merging and a norm count with the block before them."""
        name = param_name.removeprefix(prefix)
        if match := _NORM.match(name):
            name = f'layers.{match[1] or len(self.layers) - 1}.norm.'
        return super().get_layer_depth(name.replace('.downsample.', '.norm.'))

    def no_weight_decay(self) -> set[str]:
        """See :class:`~ss_backbones.networks.Network`."""
        return {name for name, _ in self.named_parameters() if name.endswith(_TABLE)}


_NORM = re.compile(r'^norm(\d*)\.')
