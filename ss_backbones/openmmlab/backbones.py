"""The OpenMMLab backbones, a class a family."""

from typing import Any

from mmengine.model import BaseModule

from .. import networks
from ..networks import PVTv2, Swin, ViT, XCiT
from ..registry import register_backbone
from .backbone import Backbone


class WithMaps:
    """Goes before :class:`Backbone` in the bases of a columnar network, which makes no maps unasked.

    Args:
        pyramid: See :class:`~ss_backbones.networks.ColumnarNetwork`.
    """

    def __init__(self, *network_positional: Any, pyramid: bool | str = True, **options: Any) -> None:
        super().__init__(*network_positional, pyramid=pyramid, **options)


@register_backbone
class SSPVTv2(Backbone, PVTv2, BaseModule):
    """SS-PVTv2, or plain PVTv2 with ``settings='uniform'``, for detectors and segmenters.

    Maps have strides 4, 8, 16 and 32. The arguments are those of :class:`~ss_backbones.networks.PVTv2`, its bases, and
    :class:`~ss_backbones.openmmlab.backbone.Backbone`; ``help`` and ``inspect.signature`` list all of them.

    Source: PVTv2 (arXiv 2106.13797); SS ViT (Pattern Recognition 162, 2025, 111422).
    """


@register_backbone
class SSSwin(Backbone, Swin, BaseModule):
    """SS-Swin, or plain Swin with ``settings='uniform'``, for detectors and segmenters.

    Maps have strides 4, 8, 16 and 32, each with a norm of its own. The arguments are those of
    :class:`~ss_backbones.networks.Swin`, its bases, and :class:`~ss_backbones.openmmlab.backbone.Backbone`; ``help``
    and ``inspect.signature`` list all of them.

    Source: Swin (arXiv 2103.14030); SS ViT (Pattern Recognition 162, 2025, 111422).
    """


@register_backbone
class SSViT(WithMaps, Backbone, ViT, BaseModule):
    """SS-ViT, or plain DeiT with ``settings='uniform'``, for detectors and segmenters.

    The arguments are those of :class:`~ss_backbones.networks.ViT`, its bases, and
    :class:`~ss_backbones.openmmlab.backbone.Backbone`; ``help`` and ``inspect.signature`` list all of them.

    Args:
        pyramid: True or 'simple' makes maps at strides 4, 8, 16, 32 (with patches of 16 pixels) of the last tokens
            after the last norm; 'blocks' makes each of the tokens after a block of its own. False gives the tokens
            after some blocks as maps of one size, without a norm.

    Source: SS ViT (Pattern Recognition 162, 2025, 111422); DeiT (arXiv 2012.12877); pyramid and windows as in ViTDet
    (arXiv 2203.16527).
    """


@register_backbone
class SSXCiT(WithMaps, Backbone, XCiT, BaseModule):
    """SS-XCiT, or plain XCiT with ``settings='uniform'``, for detectors and segmenters.

    The arguments are those of :class:`~ss_backbones.networks.XCiT`, its bases, and
    :class:`~ss_backbones.openmmlab.backbone.Backbone`; ``help`` and ``inspect.signature`` list all of them.

    Args:
        pyramid: True or 'blocks' makes maps at strides 4, 8, 16, 32, each of the tokens after a block of its own, as
            XCiT's detectors have it; 'simple' makes all of the last tokens after the last norm. False gives the tokens
            after some blocks as maps of one size, without a norm.

    Source: XCiT (arXiv 2106.09681); SS ViT (Pattern Recognition 162, 2025, 111422); the simple pyramid is ViTDet's
    (arXiv 2203.16527).
    """


@register_backbone
class UFOViT(WithMaps, Backbone, networks.UFOViT, BaseModule):
    """UFO-ViT, or with ``settings='specific'`` SS on it, for detectors and segmenters.

    The arguments are those of :class:`ss_backbones.networks.UFOViT`, its bases, and
    :class:`~ss_backbones.openmmlab.backbone.Backbone`; ``help`` and ``inspect.signature`` list all of them.

    Args:
        pyramid: See :class:`SSXCiT`.

    Source: Song, UFO-ViT (arXiv 2109.14382); the pyramid XCiT (arXiv 2106.09681).
    """
