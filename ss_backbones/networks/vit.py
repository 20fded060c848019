"""ViT with a setting for every block: SS-ViT, and plain DeiT when the settings are uniform."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from timm.layers import PatchEmbed, resample_abs_pos_embed, trunc_normal_
from torch import Tensor, fx, nn

from ..layers import Attention, Block, HeadLayer, SelfAttention, UfoAttention
from ..settings import BlockSetting
from . import spvit
from .arguments import Settings, check_count, check_flag, check_heads, height_and_width, take_any
from .base import StateDict
from .columnar import ColumnarNetwork
from .positions import resize_positions

fx.wrap('resample_abs_pos_embed')  # it decides by sizes, which torch.fx does not know

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .arguments import ColumnarArguments


@dataclass(frozen=True)
class ViTArch:
    """The shape of a ViT.

    Args:
        embed_dim: Channels, a multiple of ``num_heads``.
        depth: Blocks.
        num_heads: Attention heads.
        mlp_ratio: MLP ratio of the plain network (``settings='uniform'``).
        patch_size: Side of a patch in pixels.

    Raises:
        ValueError: A number is not positive, or the width is no multiple of the heads.
    """

    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float = 4.0
    patch_size: int = 16

    def __post_init__(self) -> None:
        for name in ('embed_dim', 'depth', 'num_heads', 'patch_size'):
            check_count(f'arch: {name}', getattr(self, name))
        BlockSetting(mlp_ratio=self.mlp_ratio)  # says what is wrong with it
        check_heads([self.embed_dim], [self.num_heads])

    def plain_mlp_ratios(self) -> list[float]:
        """See :class:`~ss_backbones.networks.arguments.Arch`."""
        return [self.mlp_ratio] * self.depth

    def widths(self) -> list[int]:
        """See :class:`~ss_backbones.networks.arguments.Arch`."""
        return [self.embed_dim] * self.depth


ARCHS: dict[str, ViTArch] = {
    'tiny': ViTArch(192, 12, 3),
    'small': ViTArch(384, 12, 6),
    'base': ViTArch(768, 12, 12),
}


def from_openmmlab(weights: StateDict) -> StateDict:
    """The keys of mmsegmentation's and mmpretrain's ViT; mmsegmentation's attention is torch's own."""
    if not any(_MM_LAYER.match(key) for key in weights):
        return weights
    return {_from_openmmlab(key): value for key, value in weights.items()}


_MM_LAYER = re.compile(r'^layers\.(\d+)\.(?=ln\d\.|attn\.|ffn\.)')
_MM_BLOCK = {
    '.ln1.': '.norm1.',
    '.ln2.': '.norm2.',
    '.attn.attn.in_proj_': '.attn.qkv.',
    '.attn.attn.out_proj.': '.attn.proj.',
    '.ffn.layers.0.0.': '.mlp.fc1.',
    '.ffn.layers.1.': '.mlp.fc2.',
}


def _from_openmmlab(key: str) -> str:
    if not _MM_LAYER.match(key):
        key = key.replace('patch_embed.projection.', 'patch_embed.proj.')
        return f'norm.{key.removeprefix("ln1.")}' if key.startswith('ln1.') else key
    key = _MM_LAYER.sub(r'blocks.\1.', key)
    for theirs, ours in _MM_BLOCK.items():
        key = key.replace(theirs, ours)
    return key


class ViT(ColumnarNetwork):
    """Patches, a class token and learned positions, then blocks of global or windowed attention.

    Args:
        arch: 'tiny', 'small', 'base', or a dict with the fields of :class:`ViTArch`.
        settings: See :class:`~ss_backbones.networks.Network`; so are the arguments that are not named here.
        img_size: Side, or height and width, of the images that the position table is made for, in pixels. Images of
            other sizes, with the padding of their batch, get the table resized.
        class_token: Put a learned token before the patches, as classifiers need; a backbone may do without.
        window_size: Side of the windows, in patches, inside which blocks attend; None for global attention everywhere.
            It is for softmax attention: a block with linear attention looks at the whole image in any case.
        global_blocks: Blocks that attend globally all the same, rising; negative ones count from the end.

    Attributes:
        img_size: Height and width of the images that the position table is made for, in pixels.
        grid: Height and width of the position table, in patches.

    Source: ViT (arXiv 2010.11929), DeiT (arXiv 2012.12877), SS ViT (Pattern Recognition 162, 2025, 111422), SPViT
    (TPAMI 2024); windows as in ViTDet (arXiv 2203.16527); linear attention UFO-ViT (arXiv 2109.14382). State-dict keys
    are those of the official SS checkpoints.
    """

    archs = ARCHS
    short_name = 'vit-'
    named_settings = spvit.DEIT
    mixers = (*spvit.MIXERS, 'ufo')
    head_mixing = spvit.DEIT_MIXING
    key_maps = (from_openmmlab, spvit.from_official)
    official_keys = (spvit.to_official,)
    computed_keys = spvit.COMPUTED_KEYS

    def __init__(
        self,
        arch: str | Mapping[str, object] = 'tiny',
        settings: Settings = 'specific',
        *,
        img_size: int | Sequence[int] = 224,
        class_token: bool = True,
        window_size: int | None = None,
        global_blocks: Sequence[int] | None = None,
        **shared: Unpack[ColumnarArguments],
    ) -> None:
        super().__init__(arch, settings, **shared)
        arch, dim = self.arch, self.arch.embed_dim
        check_flag('class_token', class_token)
        windows = _windows(window_size, global_blocks, arch.depth)
        self.img_size = height_and_width('img_size', img_size)
        self.grid = self.grid_of(*self.img_size)
        self.patch_embed = PatchEmbed(
            img_size=self.img_size,
            patch_size=self.patch_size,
            in_chans=self.in_channels,
            embed_dim=dim,
            flatten=False,
            output_fmt='NHWC',
            strict_img_size=False,
            dynamic_img_pad=True,  # an image whose sides are no multiples of the patch is filled up with zeros
        )
        self.prefix_tokens = int(class_token)
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim)) if class_token else None
        self.pos_embed = nn.Parameter(torch.empty(1, self.prefix_tokens + math.prod(self.grid), dim))
        self.pos_drop = nn.Dropout(self.proj_drop)
        blocks = []
        for i, setting in enumerate(self.settings[: self.built]):
            attn = self.make_mixer(dim, arch.num_heads, setting) or self._make_attention(setting, windows[i])
            blocks.append(Block(dim, attn, self.make_mlp(dim, setting), self.drop_paths[i]))
        self.blocks = nn.ModuleList(blocks)
        self.init_own()
        self.make_outputs()

    def _make_attention(self, setting: BlockSetting, window: int | None) -> Attention:
        """The attention that a block's setting means, in windows where it is no linear one."""
        arguments = self.attention_arguments(self.arch.embed_dim, self.arch.num_heads, setting)
        if setting.mixer == 'ufo':
            return UfoAttention(projections='qkv', **arguments)
        return SelfAttention(window_size=window, **arguments)

    def init_layer(self, layer: nn.Module) -> None:
        """DeiT's initialisation, or DFC-DeiT's own; convolutions keep torch's."""
        if isinstance(layer, nn.Linear | HeadLayer):
            trunc_normal_(layer.weight, std=0.01 if self.mlp == 'dfc' else 0.02)
            nn.init.zeros_(layer.bias)

    def init_own(self) -> None:
        """See :class:`~ss_backbones.networks.Network`."""
        super().init_own()
        dfc = self.mlp == 'dfc'
        trunc_normal_(self.pos_embed, std=0.01 if dfc else 0.02)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.01 if dfc else 1e-6)

    def resize_positions(self, img_size: int | Sequence[int]) -> None:
        """Put a position table for images of another size in place of the own one, resized from it (bicubic).

        Raises:
            ValueError: ``img_size`` is neither a number of pixels nor height and width.
        """
        self.img_size = height_and_width('img_size', img_size)
        self.patch_embed.set_input_size(self.img_size)
        grid, prefix = self.grid_of(*self.img_size), self.prefix_tokens
        if grid != self.grid:
            table = resample_abs_pos_embed(self.pos_embed.detach(), grid, self.grid, num_prefix_tokens=prefix)
            self.pos_embed = nn.Parameter(table, requires_grad=self.pos_embed.requires_grad)
            self.grid = grid

    def adapt_weights(self, weights: StateDict) -> list[str]:
        """See :class:`~ss_backbones.networks.Network`."""
        return [*resize_positions(weights, self), *spvit.fuse_weights(weights, self)]

    def embed(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """See :class:`~ss_backbones.networks.columnar.ColumnarNetwork`."""
        height, width = x.shape[-2:]
        grid = self.grid_of(height, width)
        positions = resample_abs_pos_embed(self.pos_embed, grid, self.grid, num_prefix_tokens=self.prefix_tokens)
        x = self.patch_embed(x).flatten(1, 2)
        if self.prefix_tokens:
            x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        return self.pos_drop(x + positions), grid

    def count_for_search(self, height: int, width: int) -> tuple[list[tuple[int, int]], int]:
        """See :class:`~ss_backbones.networks.Network`."""
        grid, blocks = self.grid_of(height, width), len(self.blocks)
        patches, dim = math.prod(grid), self.arch.embed_dim
        norms = 2 * dim * (patches + self.prefix_tokens) * blocks
        return [grid] * blocks, patches * self.patch_embed.proj.weight.numel() + norms

    def stem(self) -> list[nn.Module | nn.Parameter]:
        """See :class:`~ss_backbones.networks.columnar.ColumnarNetwork`: patches, positions and class token."""
        return [self.patch_embed, self.pos_embed, *([] if self.cls_token is None else [self.cls_token])]

    def no_weight_decay(self) -> set[str]:
        """See :class:`~ss_backbones.networks.Network`."""
        return super().no_weight_decay() | {'pos_embed'} | ({'cls_token'} if self.cls_token is not None else set())


def _windows(window_size: int | None, global_blocks: Sequence[int] | None, depth: int) -> list[int | None]:
    """The window of every block; None is global attention."""
    if window_size is not None:
        check_count('window_size', window_size)
    taken = take_any(global_blocks, depth, 'blocks', 'global_blocks')  # of none, all blocks keep their windows
    if taken and window_size is None:
        raise ValueError(
            f'global_blocks={tuple(global_blocks)} says which blocks do without windows, but there are none: give '
            'window_size as well, such as 14, or leave global_blocks out.'
        )
    return [None if i in taken else window_size for i in range(depth)]
