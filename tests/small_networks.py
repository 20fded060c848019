"""Small networks of every family of the catalog, as OpenMMLab backbones and as timm classifiers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

import pytest
import timm
import torch
from installed import OLD_TIMM
from table import SMALL, SMALL_BACKBONES
from torch import Tensor, nn

from ss_backbones.networks import PRESETS, Network, UFOViT
from ss_backbones.openmmlab import Backbone
from ss_backbones.timm_models.models import CLASSIFIERS as CLASSIFIER_OF

PLAIN = dict(settings='uniform')
DFC = dict(settings='uniform', mlp='dfc')
LEARNED_RAMPS = dict(ramp='bias')


def backbone_of(network: type[Network]) -> type[nn.Module]:
    """The OpenMMLab class of a network."""
    return next(cls for cls in Backbone.__subclasses__() if issubclass(cls, network))


def shallow(arch: Mapping[str, object]) -> dict[str, object]:
    """The fields of an arch that say how deep it is, for one block everywhere; timm's networks have them too."""
    depths = {key: value for key, value in arch.items() if key in ('depth', 'depths')}
    return {key: 1 if isinstance(value, int) else (1,) * len(value) for key, value in depths.items()}


def without_memory(name: str) -> torch.device:
    """Where a model of timm's is built without memory for its weights, or else with it."""
    return torch.device('cpu' if OLD_TIMM and name not in PRESETS else 'meta')


@cache
def classifier_on_meta(name: str, **options: object) -> nn.Module:
    """A preset, or any model of timm's, without memory for weights, in evaluation mode; nobody's to change."""
    with without_memory(name):
        return timm.create_model(name, **options).eval()


@cache
def backbone_on_meta(name: str) -> nn.Module:
    """A preset's backbone without memory for weights; nobody's to change."""
    with torch.device('meta'):
        return backbone_of(PRESETS[name].network)(**PRESETS[name].options())


@dataclass(frozen=True)
class Small:
    """Calling it builds the network; further options take precedence."""

    name: str
    network: type[Network]
    cls: type[nn.Module]
    options: Mapping[str, object] = field(repr=False)

    def __call__(self, **options: object) -> nn.Module:
        return self.cls(**{**self.options, **options})

    def __str__(self) -> str:
        return f'{self.name} {"classifier" if self.is_classifier else "backbone"}'

    @property
    def is_classifier(self) -> bool:
        return self.cls in CLASSIFIER_OF.values()


def _each(cls_of, kinds: Mapping[type[Network], Mapping], **always: object) -> Iterator[Small]:  # noqa: ANN001
    for network, options in kinds.items():
        for name, given in options.items():
            yield Small(name, network, cls_of(network), {**given, **always})
        if kinds is SMALL and network is not UFOViT:  # whose MLPs and ramps are XCiT's
            first = next(iter(options))
            for what, more in (('plain', PLAIN), ('dfc', DFC), ('ramps in biases', LEARNED_RAMPS)):
                yield Small(f'{first} {what}', network, cls_of(network), {**options[first], **more, **always})


BACKBONES = [
    *_each(backbone_of, SMALL, drop_path_rate=0.0),
    *_each(backbone_of, SMALL_BACKBONES, drop_path_rate=0.0),
]
CLASSIFIERS = list(_each(CLASSIFIER_OF.__getitem__, SMALL, num_classes=5))
SIMPLEST = [small for small in (*BACKBONES, *CLASSIFIERS) if small.name == next(iter(SMALL[small.network]))]
every_backbone = pytest.mark.parametrize('make', BACKBONES, ids=str)
every_classifier = pytest.mark.parametrize('make', CLASSIFIERS, ids=str)
every_network = pytest.mark.parametrize('make', [*BACKBONES, *CLASSIFIERS], ids=str)
simplest = pytest.mark.parametrize('make', SIMPLEST, ids=str)
simplest_backbones = pytest.mark.parametrize('make', [s for s in SIMPLEST if not s.is_classifier], ids=str)
every_preset = pytest.mark.parametrize('name', PRESETS)


def outputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    """The maps of a backbone, or the one result of a classifier."""
    out = model(x)
    return [out] if isinstance(out, Tensor) else list(out)


def without_gradient(model: nn.Module) -> list[str]:
    return [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


def noisy(model: nn.Module) -> nn.Module:
    """With no scale 1, no shift 0 and no bias 0, as there are in a new model, where a mix-up hides."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.data.normal_(float(name.endswith('weight')), 0.3)
        else:
            parameter.data.normal_(std=0.7 * parameter[0].numel() ** -0.5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 1.5)
    return model
