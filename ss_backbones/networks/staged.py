"""The body of networks whose maps shrink from stage to stage."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from ..layers import Block, OverlapPatchEmbed
from .arguments import Settings, take_indices
from .base import Network, run_block

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .arguments import SharedArguments


class Stage(nn.Module):
    """Downsampling (but in the first stage), blocks and a norm at one resolution."""

    def __init__(self, downsample: OverlapPatchEmbed | None, blocks: Sequence[Block], dim: int, with_cp: bool) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W'), channels-last in memory."""
        # All permutes are views: channels-last tokens are a channels-last image.
        x = x.permute(0, 2, 3, 1) if self.downsample is None else self.downsample(x)
        for block in self.blocks:
            x = run_block(block, self.with_cp, x)
        return self.norm(x).permute(0, 3, 1, 2)


class StagedNetwork(Network):
    """A stem and stages of blocks, each stage at half the resolution of the one before; the maps are the stages'.

    A subclass's arch has ``embed_dims`` and ``depths``; the subclass makes ``patch_embed`` and ``stages``, or a list of
    them of another name, as :attr:`stage_list` says. Where a stage is not quite as :class:`Stage`, it implements
    :meth:`enter_stage` and :meth:`finish_map` as well.

    Args:
        arch: See :class:`Network`; so are the arguments that are not named here.
        settings: See :class:`Network`.
        out_indices: Stages whose maps are returned, rising; negative ones count from the end. Later stages than the
            last of them are not built.

    Attributes:
        stage_list: The name of the list of stages, which is part of the state-dict keys.
    """

    stage_list: ClassVar[str] = 'stages'

    patch_embed: nn.Module

    def __init__(
        self,
        arch: str | Mapping[str, object],
        settings: Settings = 'specific',
        *,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        **shared: Unpack[SharedArguments],
    ) -> None:
        super().__init__(arch, settings, **shared)
        dims = self.arch.embed_dims
        self.out_indices = take_indices(out_indices, len(dims), 'stages')
        self.num_features = dims[-1]
        self.channels = [dims[i] for i in self.out_indices]
        self.strides = [4 * 2**i for i in self.out_indices]
        self.not_built = tuple(f'{self.stage_list}.{i}.' for i in range(self.out_indices[-1] + 1, len(dims)))

    def built_stages(self) -> nn.ModuleList:
        """The stages."""
        return getattr(self, self.stage_list)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """See :class:`Network`. The maps are channels-last in memory."""
        maps = self.forward_stages(x, self.out_indices)
        return tuple(self.finish_map(i, m) for i, m in zip(self.out_indices, maps, strict=True))

    def forward_stages(self, x: Tensor, after: Collection[int]) -> list[Tensor]:
        """The maps after each stage of ``after``, in rising order; no stage after the last of them is run."""
        x = self.patch_embed(self.checked(x)).permute(0, 3, 1, 2)
        maps = []
        for i, stage in enumerate(self.built_stages()[: max(after) + 1]):
            x = stage(self.enter_stage(i, x))
            if i in after:
                maps.append(x)
        return maps

    def enter_stage(self, index: int, x: Tensor) -> Tensor:
        """What a stage is given: from (B, C, H, W), the map after the one before it, or the stem's for the first."""
        return x

    def finish_map(self, index: int, x: Tensor) -> Tensor:
        """The map (B, C, H, W) that is returned, from the one after a stage."""
        return x

    def keep_stages(self, count: int, *, with_norm: bool = True) -> None:
        """Drop the stages after the first so many; without ``with_norm`` the norm of :meth:`finish_map` as well."""
        stages = self.built_stages()
        self.not_built += tuple(f'{self.stage_list}.{i}.' for i in range(count, len(stages)))
        setattr(self, self.stage_list, stages[:count])
        self.out_indices = (count - 1,)

    def block_input(self, index: int, x: Tensor) -> Tensor:
        """See :class:`Network`: (B, H, W, C) between the blocks."""
        if index == 0:
            return self.patch_embed(self.checked(x))
        for before, stage in pairwise(self.built_stages()):
            index -= len(before.blocks)
            if index == 0:
                return stage.downsample(before.norm(x).permute(0, 3, 1, 2))
        return x

    def freezable(self) -> list[list[nn.Module | nn.Parameter]]:
        """See :class:`Network`."""
        return [[self.patch_embed], *([stage] for stage in self.built_stages())]

    def count_parts(self) -> int:
        """See :class:`Network`."""
        return len(self.arch.embed_dims)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """See :class:`Network`. A downsampling counts with the block after it, a stage's norm with the one before."""
        counts = [len(stage.blocks) for stage in self.built_stages()]
        layers = sum(counts) + 2
        part = param_name.removeprefix(prefix).split('.')
        if part[0] == 'patch_embed':
            return 0, layers
        if part[0] != self.stage_list:
            return layers - 1, layers
        before, inside = sum(counts[: int(part[1])]), counts[int(part[1])]
        block = {'downsample': 0, 'norm': inside - 1}.get(part[2])
        return before + 1 + (int(part[3]) if block is None else block), layers
