"""Networks of other packages."""

import difflib
import importlib.util

import timm
from timm.layers import DropPath
from torch import nn

from ..errors import UsageError
from .plan import Shape

# Width of the first head, blocks by stage, MLP ratios by stage. Source: PVTv2, arXiv 2106.13797, table 1.
_PVT: dict[str, tuple[int, list[int], list[int]]] = {
    'mmdet:PVTv2-b0': (32, [2, 2, 2, 2], [8, 8, 4, 4]),
    'mmdet:PVTv2-b1': (64, [2, 2, 2, 2], [8, 8, 4, 4]),
    'mmdet:PVTv2-b2': (64, [3, 4, 6, 3], [8, 8, 4, 4]),
    'mmdet:PVTv2-b3': (64, [3, 4, 18, 3], [8, 8, 4, 4]),
    'mmdet:PVTv2-b4': (64, [3, 8, 27, 3], [8, 8, 4, 4]),
    'mmdet:PVTv2-b5': (64, [3, 6, 40, 3], [4, 4, 4, 4]),
}
# Channels, blocks and heads by stage. Source: Swin, arXiv 2103.14030, section 3.3.
_SWIN: dict[str, tuple[int, list[int], list[int]]] = {
    'mmdet:Swin-t': (96, [2, 2, 6, 2], [3, 6, 12, 24]),
    'mmdet:Swin-s': (96, [2, 2, 18, 2], [3, 6, 12, 24]),
    'mmdet:Swin-b': (128, [2, 2, 18, 2], [4, 8, 16, 32]),
}
MMDET = (*_PVT, *_SWIN)
PYRAMID = [4, 8, 16, 32]
SOURCES = ('hf-hub', 'hf_hub', 'local-dir')  # with which timm's names of pretrained models elsewhere begin


def check_timm(network: str, detector: bool) -> None:
    """Find out whether timm has the model, and whether its maps suit an FPN where a detector is measured.

    Raises:
        UsageError: It has not, or they do not.
    """
    name = network.removeprefix('timm:')
    if not name:
        raise UsageError("'timm:' names no model; write one after it, such as timm:pvt_v2_b0.")
    if name in SOURCES:
        raise UsageError(
            f'{network}:... is a place to load weights from, and candidates have random ones; '
            "give the name of timm's architecture, such as timm:pvt_v2_b0."
        )
    if not timm.is_model(name):
        word = name.lower()
        near = timm.list_models(f'*{word}*')[:5] or difflib.get_close_matches(word, timm.list_models(), 5)
        raise UsageError(f'{name!r} is no timm model' + (f'; perhaps {", ".join(near)}.' if near else '.'))
    if detector:
        model = _create(name, None)
        strides = model.feature_info.reduction() if hasattr(model, 'feature_info') else []
        if _pyramid(strides) is None:
            raise UsageError(
                f'{network!r} returns maps of strides {strides}, and the FPN of Mask R-CNN needs 4, 8, 16 and 32; '
                'take a pyramid such as timm:convnext_tiny, or leave --detector out.'
            )


def build_timm(network: str, recompute: bool, shape: Shape) -> nn.Module:
    """A timm model by features_only, or as a classifier where it has no such thing; without drop path.

    A model of one fixed size of images is made for this one. That is the faster way for it: nothing is resized and no
    mask is made during a run.
    """
    model = _create(network.removeprefix('timm:'), shape)
    for module in model.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
    if recompute:
        (model if hasattr(model, 'set_grad_checkpointing') else model.model).set_grad_checkpointing()
    return model


def _create(name: str, shape: Shape | None) -> nn.Module:
    config = timm.get_pretrained_cfg(name)
    size = {'img_size': (shape.height, shape.width)} if shape and config and config.fixed_input_size else {}
    try:
        model = timm.create_model(name, features_only=True, **size)
    except (RuntimeError, AttributeError, NotImplementedError, AssertionError):  # timm's ways to say that it has none
        return timm.create_model(name, **size)
    if _pyramid(strides := model.feature_info.reduction()) not in (None, list(range(len(strides)))):
        # maps that nobody asked for, such as the stride of 2 of a ResNet
        model = timm.create_model(name, features_only=True, out_indices=_pyramid(strides), **size)
    return model


def _pyramid(strides: list[int]) -> list[int] | None:
    """The places of strides 4, 8, 16 and 32, or None where they are not all there."""
    return [strides.index(stride) for stride in PYRAMID] if set(PYRAMID) <= set(strides) else None


def need_mmdet(what: str) -> None:
    """Find out whether mmdet is there.

    Raises:
        UsageError: It is not; ``what`` needs it.
    """
    if importlib.util.find_spec('mmdet') is None:
        raise UsageError(f'{what} needs mmdet, which is not installed. Install it as the documentation says.')


def check_mmdet(network: str) -> None:
    """Find out whether mmdet is there and has the network.

    Raises:
        UsageError: It is not, or has not.
    """
    if network not in MMDET:
        raise UsageError(f'{network!r} is unknown. Of mmdet there are {", ".join(MMDET)}.')
    need_mmdet(repr(network))


def build_mmdet(network: str, shape: Shape) -> nn.Module:
    """mmdet's own PVTv2 or Swin, without drop path."""
    # seconds to import, so only where they are asked for
    from mmdet.models.backbones import PyramidVisionTransformerV2, SwinTransformer

    if network in _SWIN:
        width, depths, heads = _SWIN[network]
        swin = SwinTransformer(embed_dims=width, depths=depths, num_heads=heads, drop_path_rate=0.0)
        return nn.Sequential(swin)  # whose train() returns it, as mmdet's does not
    width, depths, ratios = _PVT[network]
    return PyramidVisionTransformerV2(embed_dims=width, num_layers=depths, mlp_ratios=ratios, drop_path_rate=0.0)
