"""SS-PVTv2 as timm models: the same network with a classifier's head."""

from collections.abc import Sequence

from timm.models._features import feature_take_indices  # there is no public name for it
from torch import Tensor, nn

from ..networks.arch import Settings
from ..networks.pvt_v2 import ARCHS, PVTv2
from .api import TimmMixin, check_format
from .registration import register


class SSPVTv2Classifier(TimmMixin, PVTv2):
    """SS-PVTv2 with a linear head on the mean of the last map.

    Args:
        arch: See :class:`~ss_backbones.networks.PVTv2`.
        settings: See :class:`~ss_backbones.networks.PVTv2`.
        mlp: See :class:`~ss_backbones.networks.PVTv2`.
        num_classes: Classes of the head; 0 for none.
        global_pool: 'avg', or '' for the last map as it is, without a head.
        in_chans: Channels of the image.
        drop_rate: Dropout probability before the head.
        proj_drop_rate: Dropout probability in the blocks.
        attn_drop_rate: Dropout probability of the attention weights.
        drop_path_rate: Probability to drop a branch in the last block, rising linearly from 0.

    Raises:
        ValueError: An argument is out of its range.
    """

    pooling = 'avg'
    feature_indices = (0, 1, 2, 3)

    def __init__(
        self,
        arch: str = 'b0',
        settings: Settings = 'specific',
        mlp: str = 'standard',
        num_classes: int = 1000,
        global_pool: str = 'avg',
        in_chans: int = 3,
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(
            arch,
            settings,
            in_channels=in_chans,
            out_indices=-1,
            mlp=mlp,
            drop_rate=proj_drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
        )
        self.in_chans = in_chans
        self.num_features = self.head_hidden_size = self.channels[-1]
        self.head_drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes, global_pool)
        self.feature_info = [
            dict(num_chs=dim, reduction=4 * 2**i, module=f'stages.{i}') for i, dim in enumerate(self.arch.embed_dims)
        ]

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) to the last map (B, C, h, w)."""
        return super().forward(x)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, C, h, w) to (B, num_classes), or to (B, C) before the head; (B, C, h, w) for ``global_pool=''``."""
        x = self.head_drop(x.mean(dim=(2, 3)) if self.global_pool else x)
        return x if pre_logits else self.head(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The maps after some stages, as timm's models give them.

        Args:
            x: Images (B, in_chans, H, W).
            indices: Stages, in any order; a number is the last so many, and None all.
            norm: Every map has its stage's norm, whatever is said here.
            stop_early: Run no stage after the last that is wanted.
            output_fmt: 'NCHW'.
            intermediates_only: Leave out the last map.

        Raises:
            ValueError: ``output_fmt`` is another.

        Returns:
            The last map and the list of maps (B, C, h, w), or the list alone.
        """
        check_format(output_fmt, ('NCHW',))
        taken, last = feature_take_indices(len(self.stages), indices)
        end = last if stop_early else len(self.stages) - 1
        maps = self.forward_stages(x, {*taken, end})
        wanted = maps if end in taken else maps[:-1]
        return wanted if intermediates_only else (maps[-1], wanted)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages that these indices do not need, and the head; every stage keeps its norm."""
        taken, last = feature_take_indices(len(self.stages), indices)
        pruned = last < len(self.stages) - 1
        self.not_built += tuple(f'stages.{i}.' for i in range(last + 1, len(self.stages)))
        self.stages = self.stages[: last + 1]
        self.out_indices = (last,)
        self.num_features = self.head_hidden_size = self.arch.embed_dims[last]
        if prune_head or pruned:
            self.reset_classifier(0)
        return taken

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) to (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


for _arch in ARCHS:
    register(f'ss_pvt_v2_{_arch}', SSPVTv2Classifier, _arch, __name__, dict(pool_size=(7, 7), fixed_input_size=False))
