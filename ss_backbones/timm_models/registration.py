"""Registration of a classifier under a name of timm's."""

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from types import MappingProxyType

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from .weights import Features, checkpoint_filter_fn

MODEL_NAMES: list[str] = []
DEFAULTS: dict[str, Mapping[str, object]] = {}  # of a model, where they differ from its classifier's

# No address of weights: there are none to download yet.
_DEFAULTS = dict(
    num_classes=1000,
    input_size=(3, 224, 224),
    crop_pct=0.9,
    interpolation='bicubic',
    mean=IMAGENET_DEFAULT_MEAN,
    std=IMAGENET_DEFAULT_STD,
    first_conv='patch_embed.proj',
    classifier='head',
)


def register(
    name: str,
    classifier: type[nn.Module],
    arch: str,
    module: str,
    cfg: Mapping[str, object],
    defaults: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Make ``timm.create_model(name)`` build ``classifier`` with this arch.

    Args:
        name: The model's name.
        classifier: Its class, which takes ``arch`` and has ``feature_indices``, what features_only gives unasked.
        arch: Its architecture.
        module: Name of the module that registers it; timm looks there for ``default_cfgs``.
        cfg: What differs from the default configuration.
        defaults: What the model is built with unless asked otherwise, where it differs from the classifier's own.
    """

    def build(
        pretrained: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: object,
    ) -> nn.Module:
        if kwargs.get('features_only'):
            kwargs.setdefault('num_classes', 0)  # or a checkpoint without a head would be warned about

        def make(**arguments: object) -> nn.Module:
            with nullcontext() if device is None else torch.device(device):
                return classifier(arch=arch, **{**defaults, **arguments}).to(dtype=dtype)

        return build_model_with_cfg(
            make,
            name,
            pretrained,
            feature_cfg=dict(out_indices=classifier.feature_indices, feature_cls=Features),
            pretrained_filter_fn=checkpoint_filter_fn,
            pretrained_strict=False,  # the filter has been strict
            **kwargs,
        )

    build.__name__ = build.__qualname__ = name  # timm takes the name from the function
    build.__module__ = module
    build.__doc__ = f"""{name}; takes the arguments of {classifier.__name__} but ``arch``."""
    cfgs = vars(sys.modules[module]).setdefault('default_cfgs', {})
    cfgs.update(generate_default_cfgs({name: {**_DEFAULTS, **cfg}}))
    register_model(build)
    MODEL_NAMES.append(name)
    DEFAULTS[name] = defaults
