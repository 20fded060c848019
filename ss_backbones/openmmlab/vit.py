"""SS-ViT as an OpenMMLab backbone."""

from collections.abc import Mapping, Sequence

from mmengine.model import BaseModule

from ..networks import PyramidViT
from ..networks.arch import Settings
from ..registry import register_backbone
from .backbone import BackboneMixin, InitCfg


@register_backbone
class SSViT(BackboneMixin, PyramidViT, BaseModule):
    """SS-ViT, or plain DeiT with ``settings='uniform'``, for detectors and segmenters.

    Args:
        arch: 'tiny', 'small', 'base', or a dict with the fields of :class:`~ss_backbones.networks.ViTArch`.
        settings: 'specific', 'uniform', or a list with one BlockSetting or dict for every block.
        in_channels: Channels of the image.
        img_size: Side, or height and width, of the images that the position table is made for, in pixels: that of the
            pretrained weights, whatever the size of the images here. A batch of another size, padding included, has
            the table resized for it.
        pyramid: Make maps at strides 4, 8, 16, 32 (with patches of 16 pixels) of the last tokens after the last norm.
            False gives the tokens after some blocks as maps of one size, without a norm.
        out_indices: Rising; negative ones count from the end. With ``pyramid`` they count its four levels, and None is
            all of them. Without it they count blocks, no block after the last of them is built, and None is the last
            block of each quarter.
        mlp: 'standard', or 'dfc' to have every MLP's activation and second linear learned by layers that tools/probe.py
            reads; it needs settings='uniform'.
        class_token: False leaves the class token out, of pretrained weights as well.
        window_size: Side of the windows, in patches, inside which blocks attend; None for global attention everywhere.
        global_blocks: Blocks that attend globally all the same, rising; negative ones count from the end.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, the positions and the class token, k also the first k
            blocks; with all blocks the norm as well. The pyramid is never frozen.
        drop_rate: Dropout probability of the tokens, in the MLPs and after the attention's projection.
        attn_drop_rate: Dropout probability of the attention weights.
        drop_path_rate: Probability to drop a branch in the last block; it rises linearly over all blocks from 0.
        with_cp: Recompute the blocks in the backward pass in place of keeping what they made (less memory).
        bf16: Run the backbone alone in bfloat16 (autocast) and return float32 maps; see :class:`SSPVTv2`.
        init_cfg: mmengine's init_cfg. ``dict(type='Pretrained', checkpoint=FILE, prefix=...)`` reads every layout that
            :func:`~ss_backbones.load_weights` knows, and takes its ``use_ema`` and ``partial`` as well.

    Attributes:
        channels: Channels of the returned maps.
        strides: Steps of the returned maps, in pixels of the image.

    Raises:
        ValueError: An argument is out of its range; the text names it and what is possible.
        TypeError: ``arch`` or ``settings`` is of another type.

    Source: SS ViT (Pattern Recognition 162, 2025, 111422); DeiT (arXiv 2012.12877); pyramid and windows as in ViTDet
    (arXiv 2203.16527).
    """

    def __init__(
        self,
        arch: str | Mapping[str, object] = 'tiny',
        settings: Settings = 'specific',
        in_channels: int = 3,
        img_size: int | Sequence[int] = 224,
        pyramid: bool = True,
        out_indices: int | Sequence[int] | None = None,
        mlp: str = 'standard',
        class_token: bool = True,
        window_size: int | None = None,
        global_blocks: Sequence[int] | None = None,
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
            pyramid=pyramid,
            out_indices=out_indices,
            in_channels=in_channels,
            img_size=img_size,
            mlp=mlp,
            class_token=class_token,
            window_size=window_size,
            global_blocks=global_blocks,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
            with_cp=with_cp,
        )
        tables = [self.pos_embed] if self.cls_token is None else [self.pos_embed, self.cls_token]
        parts = [[self.patch_embed, *tables], *([block] for block in self.blocks)]
        if len(self.blocks) == self.arch.depth:
            parts[-1].append(self.norm)
        self._set_up(parts, self.arch.depth, frozen_stages, bf16, init_cfg, stage='blocks')
