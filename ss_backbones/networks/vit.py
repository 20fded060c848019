"""ViT with a setting for every block: SS-ViT, and plain DeiT when the settings are uniform."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from timm.layers import PatchEmbed, resample_abs_pos_embed, trunc_normal_
from torch import Tensor, nn

from ..layers import Block, DfcMlp, Mlp, SelfAttention, drop_path_rates
from ..settings import BlockSetting
from .arch import Settings, resolve_arch, resolve_mlp, resolve_settings
from .arguments import check_count, check_flag, check_image, check_shared, take_indices
from .recompute import run_block


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
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f'arch: a width of {self.embed_dim} cannot be shared by {self.num_heads} heads; make it a multiple.'
            )


ARCHS: dict[str, ViTArch] = {
    'tiny': ViTArch(192, 12, 3),
    'small': ViTArch(384, 12, 6),
    'base': ViTArch(768, 12, 12),
}
_MLPS: dict[str, type[nn.Module]] = {'standard': Mlp, 'dfc': DfcMlp}


class ViT(nn.Module):
    """The tokens of a ViT: what a classifier's head and a backbone's pyramid are put upon.

    Args:
        arch: 'tiny', 'small', 'base', or a dict with the fields of :class:`ViTArch`.
        settings: 'specific' (SS-ViT), 'uniform' (plain DeiT), or a list with one BlockSetting or dict for every block.
        in_channels: Channels of the image.
        img_size: Side, or height and width, of the images that the position table is made for, in pixels. Images of
            other sizes, with the padding of their batch, get the table resized.
        mlp: 'standard', or 'dfc' for :class:`~ss_backbones.layers.DfcMlp` in every block, with settings other than
            'specific'.
        class_token: Put a learned token before the patches, as classifiers need; a backbone may do without.
        built_blocks: How many blocks are built; None for all.
        final_norm: Whether a norm follows the last block.
        window_size: Side of the windows, in patches, inside which blocks attend; None for global attention everywhere.
        global_blocks: Blocks that attend globally all the same, rising; negative ones count from the end.
        drop_rate: Dropout probability of the tokens, in the MLPs and after the attention's projection.
        attn_drop_rate: Dropout probability of the attention weights.
        drop_path_rate: Probability to drop a branch in the last block; it rises linearly over all blocks from 0.
        with_cp: Recompute the blocks in the backward pass in place of keeping what they made (less memory).

    Attributes:
        img_size: Height and width of the images that the position table is made for, in pixels.
        grid: Height and width of the position table, in patches.
        not_built: Starts of the state-dict keys that belong to the arch and that ``built_blocks`` leaves out.

    Raises:
        ValueError: An argument is out of its range; the text names it and what is possible.
        TypeError: ``arch`` or ``settings`` is of another type.

    Source: ViT (arXiv 2010.11929), DeiT (arXiv 2012.12877), SS ViT (Pattern Recognition 162, 2025, 111422). State-dict
    keys are those of the official SS checkpoints.
    """

    def __init__(
        self,
        arch: str | Mapping[str, object] = 'tiny',
        settings: Settings = 'specific',
        *,
        in_channels: int = 3,
        img_size: int | Sequence[int] = 224,
        mlp: str = 'standard',
        class_token: bool = True,
        built_blocks: int | None = None,
        final_norm: bool = True,
        window_size: int | None = None,
        global_blocks: Sequence[int] | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.arch = arch = resolve_arch(arch, ARCHS)
        self.settings = resolve_settings(settings, [arch.mlp_ratio] * arch.depth, attn_split=0.25)
        check_shared(in_channels, drop_rate, attn_drop_rate, drop_path_rate, with_cp)
        check_flag('class_token', class_token)
        mlp_type = resolve_mlp(mlp, settings, _MLPS)
        windows = _windows(window_size, global_blocks, arch.depth)
        built = arch.depth if built_blocks is None else built_blocks
        self.in_channels = in_channels
        self.with_cp = with_cp
        self.img_size = _height_and_width(img_size)
        self.grid = self.grid_of(*self.img_size)
        self.not_built = tuple(f'blocks.{i}.' for i in range(built, arch.depth))

        dim = arch.embed_dim
        self.patch_embed = PatchEmbed(
            img_size=None,
            patch_size=arch.patch_size,
            in_chans=in_channels,
            embed_dim=dim,
            output_fmt='NHWC',
            strict_img_size=False,
            dynamic_img_pad=True,  # an image whose sides are no multiples of the patch is filled up with zeros
        )
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim)) if class_token else None
        self.pos_embed = nn.Parameter(torch.empty(1, int(class_token) + math.prod(self.grid), dim))
        self.pos_drop = nn.Dropout(drop_rate)
        drop_paths = drop_path_rates(drop_path_rate, arch.depth)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                SelfAttention(
                    dim,
                    arch.num_heads,
                    self.settings[i],
                    window_size=windows[i],
                    attn_drop=attn_drop_rate,
                    proj_drop=drop_rate,
                ),
                mlp_type(dim, self.settings[i], drop_rate),
                drop_paths[i],
            )
            for i in range(built)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6) if final_norm else nn.Identity()
        std, token_std = (0.01, 0.01) if mlp == 'dfc' else (0.02, 1e-6)  # DFC-DeiT's own, and DeiT's
        self.apply(partial(_initialise, std=std))
        trunc_normal_(self.pos_embed, std=std)
        if class_token:
            nn.init.normal_(self.cls_token, std=token_std)

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """The height and width in patches of an image of so many pixels."""
        size = self.arch.patch_size
        return -(-height // size), -(-width // size)  # rounded up, in whole numbers: sizes may be symbols

    def resize_positions(self, img_size: int | Sequence[int]) -> None:
        """Put a position table for images of another size in place of the own one, resized from it (bicubic).

        Raises:
            ValueError: ``img_size`` is neither a number of pixels nor height and width.
        """
        self.img_size = _height_and_width(img_size)
        grid, prefix = self.grid_of(*self.img_size), int(self.cls_token is not None)
        if grid != self.grid:
            table = resample_abs_pos_embed(self.pos_embed.detach(), grid, self.grid, num_prefix_tokens=prefix)
            self.pos_embed = nn.Parameter(table, requires_grad=self.pos_embed.requires_grad)
            self.grid = grid

    def as_map(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Tokens (B, N, C) of an image of so many pixels to (B, C, h, w), without the class token."""
        grid = self.grid_of(height, width)
        return tokens[:, -grid[0] * grid[1] :].transpose(1, 2).unflatten(2, grid)

    def forward_tokens(
        self, x: Tensor, after: Collection[int] = (), stop: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """An image (B, in_channels, H, W) to tokens (B, N, C), class token first; any H and W from 1 up.

        Args:
            x: The image.
            after: Blocks whose tokens are returned as well.
            stop: How many blocks are run; None for all.

        Returns:
            The tokens after the last of these blocks and the norm, and those after each block of ``after``, in rising
            order and without a norm.

        Raises:
            ValueError: ``x`` is no batch of images with ``in_channels`` channels.
        """
        check_image(x, self.in_channels)
        grid = self.grid_of(*x.shape[-2:])
        prefix = int(self.cls_token is not None)
        positions = resample_abs_pos_embed(self.pos_embed, grid, self.grid, num_prefix_tokens=prefix)
        x = self.patch_embed(x).flatten(1, 2)
        if prefix:
            x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = self.pos_drop(x + positions)
        taken = []
        for i, block in enumerate(self.blocks[:stop]):
            x = run_block(block, self.with_cp, x, grid)
            if i in after:
                taken.append(x)
        return self.norm(x), taken

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters beside norms and biases that weight decay should leave alone."""
        return {'pos_embed', 'cls_token'} if self.cls_token is not None else {'pos_embed'}

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Where a parameter stands, for layer-wise learning rates.

        Args:
            param_name: Name of the parameter, with ``prefix`` before it.
            prefix: Where this network stands in the model, such as 'backbone.'.

        Returns:
            The layer, and the number of layers: patch embedding, positions and class token are 0, the blocks are 1 and
            so on, and the last layer is whatever follows the blocks.
        """
        layers = len(self.blocks) + 2
        part = param_name.removeprefix(prefix).split('.')
        if part[0] in ('patch_embed', 'pos_embed', 'cls_token'):
            return 0, layers
        return (int(part[1]) + 1 if part[0] == 'blocks' else layers - 1), layers


def _windows(window_size: int | None, global_blocks: Sequence[int] | None, depth: int) -> list[int | None]:
    """The window of every block; None is global attention."""
    if window_size is not None:
        check_count('window_size', window_size)
    none = not isinstance(global_blocks, int) and not global_blocks  # all blocks keep their windows
    taken = () if none else take_indices(global_blocks, depth, 'blocks', 'global_blocks')
    if taken and window_size is None:
        raise ValueError(
            f'global_blocks={tuple(global_blocks)} says which blocks do without windows, but there are none: give '
            'window_size as well, such as 14, or leave global_blocks out.'
        )
    return [None if i in taken else window_size for i in range(depth)]


def _height_and_width(img_size: int | Sequence[int]) -> tuple[int, int]:
    sides = (img_size, img_size) if isinstance(img_size, int) else img_size
    if isinstance(sides, str) or not isinstance(sides, Sequence) or len(sides) != 2:
        raise ValueError(f'img_size={img_size!r} must be a number of pixels, or height and width.')
    for side in sides:
        check_count('img_size', side)
    return sides[0], sides[1]


def _initialise(module: nn.Module, std: float) -> None:
    """DeiT's initialisation; convolutions keep torch's."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=std)
        nn.init.zeros_(module.bias)
