"""The SS network that a probed network's config becomes, without its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from mmengine.config import Config
from torch import nn

from ..complexity import Complexity, complexity
from ..errors import ProbeError
from ..layers import Block
from ..networks import PRESETS, network_in
from ..networks.arguments import Settings
from ..openmmlab.backbone_building import build_backbone, own_class
from ..settings import BlockSetting
from .record import BlockStatistics

WEIGHTS = ('init_cfg', 'checkpoint_path', 'pretrained')  # where a backbone's dict asks for weights
_OTHER = ('mlp', 'settings', *WEIGHTS, '_scope_')  # no part of the plain network; _scope_ is left by mmengine in some


@dataclass(frozen=True)
class Target:
    """A network to be given settings.

    Args:
        backbone: A config's ``model.backbone`` for an SS network, without ``mlp``, settings and weights.
        shape: Height and width in pixels of the images that costs are counted for; None for what the network is made
            for, or 224 x 224.
    """

    backbone: Mapping[str, object]
    shape: tuple[int, int] | None = None

    def build(self, settings: Settings) -> nn.Module:
        """The network on the meta device.

        Raises:
            ProbeError: The config's arguments, or these settings, make no network.
        """
        try:
            with torch.device('meta'):
                return build_backbone({**self.backbone, 'settings': settings})
        except (KeyError, TypeError, ValueError) as error:
            raise ProbeError(f'The network of the config cannot be built: {error}') from error

    @cached_property
    def plain(self) -> nn.Module:
        """The network that has ``settings='uniform'``."""
        return self.build('uniform')

    @cached_property
    def paper(self) -> nn.Module:
        """The network that has the paper's settings."""
        return self.build('specific')

    @property
    def splits_tokens(self) -> bool:
        """Whether tokens skip the attention's projection in the paper's settings of such networks."""
        return network_in(self.plain).attn_split > 0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that costs are counted for."""
        return self.shape or getattr(self.plain, 'img_size', (224, 224))

    def cost(self, network: nn.Module) -> Complexity:
        """What one of its networks costs for an image of :attr:`size`."""
        return complexity(network, (1, network.in_channels, *self.size))

    @cached_property
    def plain_cost(self) -> Complexity:
        """What the network that has ``settings='uniform'`` costs."""
        return self.cost(self.plain)

    def cost_of(self, settings: Sequence[BlockSetting]) -> Complexity:
        """What the network costs with these settings for the blocks that are built.

        Raises:
            ProbeError: They make no network.
        """
        return self.cost(self.build(self.complete(settings)))

    def complete(self, settings: Sequence[BlockSetting]) -> list[BlockSetting]:
        """Settings of the blocks that are built, with plain ones for those that ``out_indices`` leaves out."""
        return [*settings, *self.plain.settings[len(settings) :]]

    def check_blocks(self, blocks: Sequence[BlockStatistics]) -> None:
        """Whether these are the network's blocks.

        Raises:
            ProbeError: There are more or fewer, or one has another width.
        """
        own = {name: module.mlp.fc1 for name, module in self.plain.named_modules() if isinstance(module, Block)}
        if len(own) != len(blocks):
            raise ProbeError(
                f'The probe has {len(blocks)} blocks, the network of the config {len(own)}. Give the config that the '
                'probed network was trained with: --base CONFIG.'
            )
        for (name, fc1), block in zip(own.items(), blocks, strict=True):
            if (fc1.in_features, fc1.out_features) != (block.dim, block.hidden):
                raise ProbeError(
                    f'{block.name} of the probe has {block.dim} channels and {block.hidden} hidden ones; in the plain '
                    f'network of the config {name} has {fc1.in_features} and {fc1.out_features}. Give the config that '
                    "the probed network was trained with (--base CONFIG); it must have DFC with settings='uniform'."
                )


def target_of(config: Config, where: str, shape: tuple[int, int] | None = None) -> Target:
    """The network of a classifier's, detector's or segmenter's config.

    Args:
        config: The config.
        where: Its name, for the words of an error.
        shape: See :class:`Target`.

    Raises:
        ProbeError: Its backbone is none of this package's.
    """
    model = config.get('model')
    backbone = model.get('backbone') if isinstance(model, Mapping) else None
    if not isinstance(backbone, Mapping):
        raise ProbeError(f'{where} has no model.backbone, which is what would get the settings.')
    kept = {key: value for key, value in backbone.items() if key not in _OTHER}
    if 'name' in kept:
        kept['name'] = _specific_name(kept['name'], where)
    elif cls := own_class(kept):
        kept['type'] = f'ss_backbones.{cls.__name__}'
    else:
        raise ProbeError(
            f'The backbone of {where} is {kept.get("type")}; settings can be derived for backbones of this package, '
            'such as SSViT.'
        )
    return Target(kept, shape)


def _specific_name(name: object, where: str) -> str:
    """The timm name of the network with the paper's settings, for that of its DFC network or its own."""
    preset = PRESETS.get(name) if isinstance(name, str) else None
    if preset is None:
        raise ProbeError(f'The classifier of {where} is {name!r}, no model of this package that takes settings.')
    wanted = (preset.network, preset.arch, preset.img_size, 'specific', 'standard')
    for other in PRESETS.values():
        if (other.network, other.arch, other.img_size, other.settings, other.mlp) == wanted:
            return other.name
    raise ProbeError(
        f"No model of this package is {name} with the paper's settings. Give a config of one: --base CONFIG."
    )
