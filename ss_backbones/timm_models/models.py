"""The timm models: a class a family, and the registration of the catalog's presets."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from ..networks import PRESETS, Network, Preset, PVTv2, StagedNetwork, Swin, UFOViT, ViT, XCiT
from ..networks.arguments import Settings, check_flag
from ..networks.swin import PATCH
from .classifier import ColumnarClassifier, StagedClassifier, check_patch_size, record_input_size
from .weights import Features, checkpoint_filter_fn


class SSPVTv2Classifier(StagedClassifier, PVTv2):
    """SS-PVTv2 with a linear head on the mean of the last map; see both bases for the arguments."""


class SSSwinClassifier(StagedClassifier, Swin):
    """SS-Swin with a linear head on the mean of the last map after its norm; see both bases for the arguments."""

    def describe_features(self) -> list[tuple[int, int, str]]:
        """See :class:`~ss_backbones.timm_models.classifier.Classifier`: the stages without their merging."""
        return [(channels, stride, f'{stage}.as_map') for channels, stride, stage in super().describe_features()]

    def set_input_size(
        self,
        img_size: int | Sequence[int] | None = None,
        patch_size: int | Sequence[int] | None = None,
        window_size: int | Sequence[int] | None = None,
    ) -> None:
        """Take windows for images of another size, or other windows; an optimiser must be built after this.

        Args:
            img_size: Side, or height and width, in pixels; None for no change.
            patch_size: The model's own, or None.
            window_size: Side, or height and width, in tokens; None for no change.

        Raises:
            ValueError: A size is none, or ``patch_size`` another than the model's.
        """
        check_patch_size(patch_size, PATCH)
        self.resize_windows(img_size, window_size)
        record_input_size(self, self.img_size)


class SSViTClassifier(ColumnarClassifier, ViT):
    """SS-ViT with a linear head on the class token; see both bases for the arguments that are not named here.

    Args:
        arch: See :class:`~ss_backbones.networks.ViT`.
        settings: See :class:`~ss_backbones.networks.Network`.
        dynamic_img_size: Resize the position table for images of other sizes; False refuses them.
    """

    def __init__(
        self,
        arch: str | Mapping[str, object] = 'tiny',
        settings: Settings = 'specific',
        *,
        dynamic_img_size: bool = True,
        **options: Any,
    ) -> None:
        check_flag('dynamic_img_size', dynamic_img_size)
        super().__init__(arch, settings, **options)
        self.dynamic_img_size = dynamic_img_size
        self.patch_embed.strict_img_size = not dynamic_img_size  # timm's tools read it there

    def set_input_size(
        self, img_size: int | Sequence[int] | None = None, patch_size: int | Sequence[int] | None = None
    ) -> None:
        """Make the position table one for images of another size; an optimiser must be built after this.

        Args:
            img_size: Side, or height and width, in pixels; None for no change.
            patch_size: The model's own, or None.

        Raises:
            ValueError: ``img_size`` is no size, or ``patch_size`` another than the model's.
        """
        check_patch_size(patch_size, self.patch_size, ', or build the model with patch_size=... and train that')
        if img_size is not None:
            self.resize_positions(img_size)
        record_input_size(self, self.img_size)

    def embed(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """See :class:`~ss_backbones.networks.columnar.ColumnarNetwork`.

        Raises:
            ValueError: Without ``dynamic_img_size``, the images have another size.
        """
        size = tuple(x.shape[-2:]) if not self.dynamic_img_size else self.img_size
        if size != self.img_size:
            raise ValueError(
                f'The images have {" x ".join(map(str, size))} pixels, and the model was built with '
                f'dynamic_img_size=False for {self.img_size[0]} x {self.img_size[1]}. Resize the images, call '
                f'set_input_size({size}), or build the model with dynamic_img_size=True.'
            )
        return super().embed(x)


class SSXCiTClassifier(ColumnarClassifier, XCiT):
    """SS-XCiT with a linear head on the class token; see both bases for the arguments."""

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """See :class:`~ss_backbones.timm_models.classifier.ColumnarClassifier`; class attention goes with the head."""
        taken = super().prune_intermediate_layers(indices, prune_norm, prune_head)
        if prune_head:
            self.drop_class_attention()
            self.reset_classifier(0, '')
        return taken


class UFOViTClassifier(SSXCiTClassifier, UFOViT):
    """UFO-ViT with a linear head on the class token; see both bases for the arguments."""


CLASSIFIERS: dict[type[Network], type[nn.Module]] = {
    PVTv2: SSPVTv2Classifier,
    Swin: SSSwinClassifier,
    UFOViT: UFOViTClassifier,
    ViT: SSViTClassifier,
    XCiT: SSXCiTClassifier,
}

# No address of weights: there are none to download yet.
_DEFAULTS = dict(
    num_classes=1000,
    interpolation='bicubic',
    mean=IMAGENET_DEFAULT_MEAN,
    std=IMAGENET_DEFAULT_STD,
    classifier='head',
)
default_cfgs: dict[str, Any] = {}  # timm looks for it under this name


def register(preset: Preset, classifier: type[nn.Module]) -> None:
    """Make ``timm.create_model(preset.name)`` build ``classifier``, with the preset's options unless asked otherwise.

    Args:
        preset: The name and what it means; see :func:`ss_backbones.networks.catalog.add`.
        classifier: A :class:`~ss_backbones.timm_models.classifier.Classifier` of the preset's network.
    """
    defaults = preset.options()
    # timm passes input_size as img_size where fixed_input_size says so
    size, fixed = (preset.img_size or 224), defaults.pop('img_size', None) is not None

    def build(
        pretrained: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> nn.Module:
        overlay, given = dict(kwargs.pop('pretrained_cfg_overlay', None) or {}), kwargs.get('pretrained_cfg')
        if overlay.get('file') or isinstance(given, Mapping) and given.get('file'):
            overlay['custom_load'] = True  # timm has the model read it then
        if kwargs.get('features_only'):
            kwargs.setdefault('num_classes', 0)  # or a checkpoint without a head would be warned about

        def make(**arguments: Any) -> nn.Module:
            with nullcontext() if device is None else torch.device(device):
                return classifier(**{**defaults, **arguments}).to(dtype=dtype)

        return build_model_with_cfg(
            make,
            preset.name,
            pretrained,
            feature_cfg=dict(out_indices=classifier.feature_indices, feature_cls=Features),
            pretrained_filter_fn=checkpoint_filter_fn,
            pretrained_strict=False,  # the filter has been strict
            pretrained_cfg_overlay=overlay,
            **kwargs,
        )

    build.__name__ = build.__qualname__ = preset.name  # timm takes the name from the function
    build.__module__ = __name__  # and looks for default_cfgs there
    build.__doc__ = f"""{preset.name}; takes the arguments of {classifier.__name__} but ``arch``."""
    own = dict(input_size=(3, size, size), crop_pct=preset.crop_pct, fixed_input_size=fixed)
    own['first_conv'] = preset.network.first_conv
    if issubclass(preset.network, StagedNetwork):
        own['pool_size'] = (size // 32, size // 32)
    default_cfgs.update(generate_default_cfgs({preset.name: {**_DEFAULTS, **own}}))
    register_model(build)


def model_names() -> list[str]:
    """The timm names of this package's models, those of packages outside too."""
    return [name for name in PRESETS if timm.is_model(name)]


def name_and_options(what: str, model: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """What a config says of a timm model: its name, and the other arguments of ``timm.create_model``.

    Raises:
        ValueError: timm has no such model; ``what`` says which part of the config it is.
    """
    options = dict(model)
    name = options.pop('name', None)
    if not isinstance(name, str) or not timm.is_model(name):
        near = timm.list_models(f'*{name}*')[:3] or model_names()
        raise ValueError(f'{what}: name={name!r} is no timm model; there are {", ".join(near)}.')
    return name, options


for _preset in PRESETS.values():
    register(_preset, CLASSIFIERS[_preset.network])
