"""The body of networks whose tokens keep one resolution and one width from the first block to the last."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..layers.pyramid import LEVELS, SimpleFeaturePyramid
from .arguments import Settings, check_flag, take_indices
from .base import Network, run_block

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .arguments import SharedArguments


class ColumnarNetwork(Network):
    """A stem and blocks over the same tokens; the maps are a pyramid on the last tokens, or tokens after some blocks.

    A subclass's arch has ``embed_dim``, ``depth`` and ``patch_size``; the subclass makes ``patch_embed`` and
    ``blocks`` (:attr:`built` of them), then calls :meth:`make_outputs`, and implements :meth:`embed`.

    Args:
        arch: See :class:`Network`; so are the arguments that are not named here.
        settings: See :class:`Network`.
        pyramid: Make a simple feature pyramid of the last tokens, after the last norm. False gives the tokens after
            some blocks as maps of one size, without a norm, as the necks of mmsegmentation's ViT and BEiT want them.
            None makes no maps: tokens alone, for a classifier.
        out_indices: Rising; negative ones count from the end. With ``pyramid`` they count its four levels, and None is
            all of them. Without it they count blocks, no block after the last of them is built, and None is the last
            block of each quarter.

    Attributes:
        built: How many blocks are built.

    Source: the pyramid is ViTDet's (arXiv 2203.16527).
    """

    part_name = 'blocks'
    backbone_keys = ('pyramid.',)

    patch_embed: nn.Module
    blocks: nn.ModuleList
    norm: nn.Module

    def __init__(
        self,
        arch: str | Mapping[str, object],
        settings: Settings = 'specific',
        *,
        pyramid: bool | None = None,
        out_indices: int | Sequence[int] | None = None,
        **shared: Unpack[SharedArguments],
    ) -> None:
        super().__init__(arch, settings, **shared)
        if pyramid is not None:
            check_flag('pyramid', pyramid)
        depth, patch = self.arch.depth, self.arch.patch_size
        count, what = (LEVELS, 'levels of the pyramid') if pyramid else (depth, 'blocks')
        if out_indices is None:
            quarters = sorted({max(0, depth * i // 4 - 1) for i in range(1, 5)})
            out_indices = range(LEVELS) if pyramid else quarters if pyramid is False else depth - 1
        self.out_indices = take_indices(out_indices, count, what)
        if pyramid and patch % 4:
            raise ValueError(
                f'arch: patch_size={patch} cannot be quartered, as the finest level of the pyramid needs; '
                'take a multiple of 4, or pyramid=False.'
            )
        self.built = self.out_indices[-1] + 1 if pyramid is False else depth
        self.not_built = tuple(f'blocks.{i}.' for i in range(self.built, depth))
        self.num_features = self.arch.embed_dim
        steps = (patch // 4, patch // 2, patch, 2 * patch)
        self.strides = [steps[i] for i in self.out_indices] if pyramid else [patch] * len(self.out_indices)
        self._with_pyramid = pyramid

    def make_outputs(self) -> None:
        """The norm after the last block and the pyramid, as far as they are wanted."""
        dim, pyramid = self.arch.embed_dim, self._with_pyramid
        self.norm = nn.Identity() if pyramid is False else nn.LayerNorm(dim, eps=1e-6)
        self.pyramid = SimpleFeaturePyramid(dim, self.out_indices) if pyramid else None
        self.channels = self.pyramid.channels if pyramid else [dim] * len(self.out_indices)
        if pyramid:
            self.not_built += tuple(f'pyramid.levels.{i}.' for i in range(LEVELS) if i not in self.out_indices)

    def embed(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """(B, in_channels, H, W) to tokens (B, N, C) with positions, and the height and width in patches."""
        raise NotImplementedError

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """The height and width in patches of an image of so many pixels."""
        size = self.arch.patch_size
        return -(-height // size), -(-width // size)  # rounded up, in whole numbers: sizes may be symbols

    def as_map(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Tokens (B, N, C) of an image of so many pixels to (B, C, h, w), without those before the patches."""
        grid = self.grid_of(height, width)
        return tokens[:, -grid[0] * grid[1] :].transpose(1, 2).unflatten(2, grid)

    def forward_tokens(
        self, x: Tensor, after: Collection[int] = (), stop: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """An image (B, in_channels, H, W) to tokens (B, N, C); any H and W from 1 up.

        Args:
            x: The image.
            after: Blocks whose tokens are returned as well.
            stop: How many blocks are run; None for all.

        Returns:
            The tokens after the last of these blocks and the norm, and those after each block of ``after``, in rising
            order and without a norm.
        """
        x, grid = self.embed(self.checked(x))
        taken = []
        for i, block in enumerate(self.blocks[:stop]):
            x = run_block(block, self.with_cp, x, grid)
            if i in after:
                taken.append(x)
        return self.norm(x), taken

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """See :class:`Network`."""
        last, taken = self.forward_tokens(x, self.out_indices if self.pyramid is None else ())
        height, width = x.shape[-2:]
        if self.pyramid is None:
            return tuple(self.as_map(tokens, height, width) for tokens in taken)
        maps = self.pyramid(self.as_map(last, height, width))
        # What lies over the image's border belongs to the padding of the last patches.
        return tuple(
            m[:, :, : -(-height // stride), : -(-width // stride)] for m, stride in zip(maps, self.strides, strict=True)
        )

    def block_input(self, index: int, x: Tensor) -> Tensor:
        """See :class:`Network`: (B, N, C) between the blocks."""
        return x if index else self.embed(self.checked(x))[0]

    def layout(self, height: int, width: int) -> tuple[tuple[int, int]]:
        """See :class:`Network`: the height and width in patches."""
        return (self.grid_of(height, width),)

    def freezable(self) -> list[list[nn.Module | nn.Parameter]]:
        """See :class:`Network`. The norm goes with the last block of the arch; a pyramid is never frozen."""
        parts = [self.stem(), *([block] for block in self.blocks)]
        if len(self.blocks) == self.arch.depth:
            parts[-1].append(self.norm)
        return parts

    def stem(self) -> list[nn.Module | nn.Parameter]:
        """What comes before the blocks."""
        return [self.patch_embed]

    def count_parts(self) -> int:
        """See :class:`Network`."""
        return self.arch.depth

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """See :class:`Network`."""
        layers = len(self.blocks) + 2
        part = param_name.removeprefix(prefix).split('.')
        if part[0] in ('patch_embed', *self.no_weight_decay()):
            return 0, layers
        return (int(part[1]) + 1 if part[0] == 'blocks' else layers - 1), layers
