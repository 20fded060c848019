"""The body of networks whose tokens keep one resolution and one width from the first block to the last."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from ..layers.pyramid import LEVELS, BlockPyramid, FeaturePyramid, SimpleFeaturePyramid
from ..settings import with_linear_attention
from .arguments import Settings, check_count, take_any, take_indices
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
        patch_size: Side of a patch in pixels; None for the arch's own.
        linear_blocks: Blocks, rising, that have linear attention, whatever mixer the settings give them; negative ones
            count from the end, and None is none.
        pyramid: 'simple' makes a pyramid of the last tokens, after the last norm. 'blocks' makes each of its levels of
            the tokens after a block of its own, without a norm. True is the family's :attr:`own_pyramid`. False gives
            the tokens after some blocks as maps of one size, without a norm, as the necks of mmsegmentation's ViT and
            BEiT want them. None makes no maps: tokens alone, for a classifier.
        pyramid_blocks: The blocks of the four levels with ``pyramid='blocks'``, rising; negative ones count from the
            end. None is those at a third, half, two thirds and the end of the depth.
        out_indices: Rising; negative ones count from the end. With a pyramid they count its four levels, and None is
            all of them. Without it they count blocks, and None is the last block of each quarter. No block after the
            last one that is needed is built.

    Attributes:
        built: How many blocks are built.
        patch_size: Side of a patch in pixels.
        is_classifier: Whether it makes no maps.
        own_pyramid: What ``pyramid=True`` means.
        stem_names: What stands before the blocks, for layer-wise learning rates.
        prefix_tokens: How many tokens between the blocks come before the patches.

    Source: the simple pyramid is ViTDet's (arXiv 2203.16527), that of blocks XCiT's (arXiv 2106.09681).
    """

    part_name = 'blocks'
    backbone_keys = ('pyramid.',)
    own_pyramid: ClassVar[str] = 'simple'
    stem_names: ClassVar[tuple[str, ...]] = ('patch_embed', 'pos_embed', 'cls_token')
    prefix_tokens: int = 0

    patch_embed: nn.Module
    blocks: nn.ModuleList
    norm: nn.Module

    def __init__(
        self,
        arch: str | Mapping[str, object],
        settings: Settings = 'specific',
        *,
        patch_size: int | None = None,
        linear_blocks: int | Sequence[int] | None = None,
        pyramid: bool | str | None = None,
        pyramid_blocks: Sequence[int] | None = None,
        out_indices: int | Sequence[int] | None = None,
        **shared: Unpack[SharedArguments],
    ) -> None:
        super().__init__(arch, settings, **shared)
        self.is_classifier = pyramid is None
        if patch_size is not None:
            check_count('patch_size', patch_size)
            self.arch = replace(self.arch, patch_size=patch_size)
        self.patch_size = self.arch.patch_size
        linear = take_any(linear_blocks, self.arch.depth, 'blocks', 'linear_blocks')
        self.settings = with_linear_attention(self.settings, linear)
        self.check_mixers()
        self._pyramid = self._checked_pyramid(pyramid)
        depth, levels = self.arch.depth, self._pyramid is not None
        if out_indices is None:
            quarters = sorted({max(0, depth * i // 4 - 1) for i in range(1, 5)})
            out_indices = range(LEVELS) if levels else quarters if pyramid is False else depth - 1
        counted = (LEVELS, 'levels of the pyramid') if levels else (depth, 'blocks')
        self.out_indices = take_indices(out_indices, *counted)
        self._taken = self._taken_blocks(pyramid, pyramid_blocks)
        self.built = self._taken[-1] + 1 if self._taken else depth
        self.not_built = tuple(f'blocks.{i}.' for i in range(self.built, depth))
        self.num_features = self.arch.embed_dim
        finest = self.patch_size // 2 ** self.count_doublings()
        self.strides = [finest * 2**i if levels else self.patch_size for i in self.out_indices]

    def _checked_pyramid(self, pyramid: bool | str | None) -> str | None:
        """The kind of pyramid, or None without one.

        Raises:
            ValueError: There is no such kind, or the patches are too small for it.
        """
        kind = self.own_pyramid if pyramid is True else None if pyramid is False else pyramid
        if not isinstance(pyramid, bool | str | None) or kind not in (None, *_PYRAMIDS):
            raise ValueError(f'pyramid={pyramid!r} must be {", ".join(map(repr, _PYRAMIDS))}, True or False.')
        if kind and self.patch_size % 2 ** self.count_doublings():
            raise ValueError(
                f'arch: patch_size={self.patch_size} cannot be quartered, as the finest level of the pyramid needs; '
                'take a multiple of 4, or pyramid=False.'
            )
        return kind

    def _taken_blocks(self, pyramid: bool | str | None, pyramid_blocks: Sequence[int] | None) -> tuple[int, ...]:
        """The blocks whose tokens become maps.

        Raises:
            ValueError: ``pyramid_blocks`` are no four blocks, or nothing takes them.
        """
        depth = self.arch.depth
        if self._pyramid != 'blocks':
            if pyramid_blocks is not None:
                raise ValueError(
                    f"pyramid_blocks={pyramid_blocks!r} are for pyramid='blocks'; give that too, or leave them out."
                )
            return self.out_indices if pyramid is False else ()
        if pyramid_blocks is None:
            blocks = tuple(max(0, depth * i // 6 - 1) for i in (2, 3, 4, 6))  # some are the same where there are few
        else:
            blocks = take_indices(pyramid_blocks, depth, 'blocks', 'pyramid_blocks')
        if len(blocks) != LEVELS:
            raise ValueError(f'pyramid_blocks={blocks} must name {LEVELS} blocks, one for each level.')
        return tuple(blocks[i] for i in self.out_indices)

    def count_doublings(self) -> int:
        """How many times the sides of the patches' grid are doubled in the finest level of a pyramid."""
        return 2

    def make_outputs(self) -> None:
        """The norm after the last block and the pyramid, as far as they are wanted."""
        dim = self.arch.embed_dim
        self.norm = nn.Identity() if self._taken else nn.LayerNorm(dim, eps=1e-6)
        if self._taken:
            self.not_built += ('norm.',)
        made = _PYRAMIDS[self._pyramid](dim, self.out_indices, self.count_doublings()) if self._pyramid else None
        self.pyramid = made
        self.channels = made.channels if made else [dim] * len(self.out_indices)
        if made:
            self.not_built += tuple(f'pyramid.levels.{i}.' for i in range(LEVELS) if i not in self.out_indices)

    def embed(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """(B, in_channels, H, W) to tokens (B, N, C) with positions, and the height and width in patches."""
        raise NotImplementedError

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """The height and width in patches of an image of so many pixels."""
        size = self.patch_size
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
        return self.finish_tokens(x), taken

    def finish_tokens(self, x: Tensor) -> Tensor:
        """What follows the last block: the last norm."""
        return self.norm(x)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """See :class:`Network`."""
        last, taken = self.forward_tokens(x, self._taken)
        height, width = x.shape[-2:]
        after = dict(zip(sorted(set(self._taken)), taken, strict=True))
        maps = [self.as_map(t, height, width) for t in ([after[i] for i in self._taken] if self._taken else [last])]
        if self.pyramid is None:
            return tuple(maps)
        maps = self.pyramid(maps if self._pyramid == 'blocks' else maps[0])
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
        if part[0] in self.stem_names:
            return 0, layers
        return (int(part[1]) + 1 if part[0] == 'blocks' else layers - 1), layers


_PYRAMIDS: dict[str, type[FeaturePyramid]] = {'simple': SimpleFeaturePyramid, 'blocks': BlockPyramid}
