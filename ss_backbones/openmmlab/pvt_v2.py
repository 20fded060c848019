"""SS-PVTv2 as an OpenMMLab backbone."""

from collections.abc import Mapping, Sequence

from mmengine.model import BaseModule

from ..networks import PVTv2
from ..networks.arch import Settings
from ..registry import register_backbone
from .backbone import BackboneMixin, InitCfg


@register_backbone
class SSPVTv2(BackboneMixin, PVTv2, BaseModule):
    """SS-PVTv2, or plain PVTv2 with ``settings='uniform'``, for detectors and segmenters.

    Args:
        arch: 'b0', 'b1', 'b2', 'b2_li', 'b3', 'b4', 'b5', or a dict with the fields of
            :class:`~ss_backbones.networks.PVTv2Arch`.
        settings: 'specific', 'uniform', or a list with one BlockSetting or dict for every block.
        in_channels: Channels of the image.
        out_indices: Stages whose maps are returned, rising; negative ones count from the end. No stage after the last
            is built.
        mlp: 'standard', or 'dfc' to have every MLP's activation and second linear learned by layers that tools/probe.py
            reads; it needs settings='uniform'.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, k the patch embedding and the first k stages.
        drop_rate: Dropout probability in the MLPs and after the attention's projection.
        attn_drop_rate: Dropout probability of the attention weights.
        drop_path_rate: Probability to drop a branch in the last block; it rises linearly over all blocks from 0.
        with_cp: Recompute the blocks in the backward pass in place of keeping what they made (less memory).
        bf16: Run the backbone alone in bfloat16 (autocast) and return float32 maps. mmcv's operators in necks and heads
            have no bfloat16, and boxes in it would be rounded to 8 pixels at the far side of a 1333 pixel image.
        init_cfg: mmengine's init_cfg. ``dict(type='Pretrained', checkpoint=FILE, prefix=...)`` reads every layout that
            :func:`~ss_backbones.load_weights` knows, and takes its ``use_ema`` and ``partial`` as well.

    Attributes:
        channels: Channels of the returned maps.
        strides: Steps of the returned maps, in pixels of the image.

    Raises:
        ValueError: An argument is out of its range; the text names it and what is possible.
        TypeError: ``arch`` or ``settings`` is of another type.

    Source: PVTv2 (arXiv 2106.13797); SS ViT (Pattern Recognition 162, 2025, 111422).
    """

    def __init__(
        self,
        arch: str | Mapping[str, object] = 'b0',
        settings: Settings = 'specific',
        in_channels: int = 3,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        mlp: str = 'standard',
        frozen_stages: int = -1,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        with_cp: bool = False,
        bf16: bool = False,
        init_cfg: InitCfg = None,
    ) -> None:
        super().__init__(
            arch,
            settings,
            in_channels=in_channels,
            out_indices=out_indices,
            mlp=mlp,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
            with_cp=with_cp,
        )
        parts = [[self.patch_embed], *([stage] for stage in self.stages)]
        self._set_up(parts, len(self.arch.depths), frozen_stages, bf16, init_cfg)
