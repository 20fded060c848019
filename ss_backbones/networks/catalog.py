"""The named networks, a line each; everything that wants all of them asks here.

A package outside adds its own with :func:`add` before it registers its models.
"""

from dataclasses import dataclass
from typing import Any

from .base import Network
from .pvt_v2 import PVTv2
from .swin import Swin
from .ufo_vit import UFOViT
from .vit import ViT
from .xcit import XCiT

SIZES = ('img_size', 'window_size', 'patch_size')


@dataclass(frozen=True)
class Preset:
    """A network under a name of timm's.

    Args:
        name: The name.
        network: Its class.
        arch: Its architecture, of the class's ``archs``.
        settings: Its settings unless asked otherwise.
        mlp: Its MLPs unless asked otherwise.
        ramp: How it holds its ramps unless asked otherwise.
        img_size: Side of the images that it is made for, in pixels, where its weights depend on that; None elsewhere.
        window_size: Side of its windows in tokens, where it is not the class's own.
        patch_size: Side of its patches in pixels, where it is not the arch's own.
        crop_pct: Which part of an image's shorter side an evaluation sees.
    """

    name: str
    network: type[Network]
    arch: str
    settings: str = 'specific'
    mlp: str = 'standard'
    ramp: str | None = None
    img_size: int | None = None
    window_size: int | None = None
    patch_size: int | None = None
    crop_pct: float = 0.9

    def options(self) -> dict[str, Any]:
        """What the network is built with."""
        sizes = {name: getattr(self, name) for name in SIZES if getattr(self, name) is not None}
        return {'arch': self.arch, 'settings': self.settings, 'mlp': self.mlp, 'ramp': self.ramp, **sizes}

    def build(self, **options: Any) -> Network:
        """The network as a classifier has it, without a head; ``options`` take precedence.

        Raises:
            ValueError: An option is out of its range.
            TypeError: There is no such option.
        """
        return self.network(**{**self.options(), **options})


PRESETS: dict[str, Preset] = {}


def add(*presets: Preset) -> None:
    """Make presets known.

    Raises:
        ValueError: A name is taken by another preset, or the network has no such arch.
    """
    for preset in presets:
        if PRESETS.get(preset.name, preset) != preset:
            raise ValueError(f'{preset.name} is taken by {PRESETS[preset.name]}. Take another name.')
        if preset.arch not in preset.network.archs:
            raise ValueError(f'{preset.name}: {preset.network.__name__} has no arch {preset.arch}.')
        PRESETS[preset.name] = preset


def families() -> dict[str, type[Network]]:
    """The classes of the networks by what stands before their archs in short names."""
    return {preset.network.short_name: preset.network for preset in PRESETS.values()}


def one_of_each() -> dict[str, Preset]:
    """The first preset of every kind: a family with its specific setting, with named ones, and with another MLP."""
    kinds: dict[object, Preset] = {}
    for preset in PRESETS.values():
        kinds.setdefault((preset.network, preset.settings in preset.network.named_settings, preset.mlp), preset)
    return {preset.name: preset for preset in kinds.values()}


def short_names() -> dict[str, tuple[type[Network], str]]:
    """'b0', 'vit-tiny' and so on: every arch of every family, with its class and its name there."""
    return {prefix + arch: (network, arch) for prefix, network in families().items() for arch in network.archs}


add(
    *(Preset(f'ss_pvt_v2_{arch}', PVTv2, arch) for arch in PVTv2.archs),
    *(Preset(f'ss_vit_{arch}_patch16_224', ViT, arch, img_size=224) for arch in ViT.archs),
    # as DeiT is evaluated: the whole image at 384, its middle at 224
    Preset('ss_vit_base_patch16_384', ViT, 'base', img_size=384, crop_pct=1.0),
    *(Preset(f'ss_swin_{arch}_patch4_window7_224', Swin, arch, img_size=224) for arch in Swin.archs),
    # under the name of its windows, and under the official one, which calls them 7 although they are 12
    *(
        Preset(f'ss_swin_base_patch4_window{name}_384', Swin, 'base', img_size=384, window_size=12, crop_pct=1.0)
        for name in (12, 7)
    ),
    # as the official code of SPViT evaluates, from 256 pixels
    *(
        Preset(name, network, named.arch, name, img_size=224, crop_pct=0.875)
        for network in (ViT, Swin)
        for name, named in network.named_settings.items()
    ),
    *(
        Preset(f'ss_xcit_{arch}_p{patch}_224', XCiT, arch, patch_size=own, crop_pct=1.0)
        for patch, own in ((16, None), (8, 8))
        for arch in XCiT.archs
    ),
    *(Preset(f'ufo_vit_{arch}_patch16_224', UFOViT, arch, 'uniform', crop_pct=1.0) for arch in UFOViT.archs),
    *(Preset(f'dfc_deit_{arch}_patch16_224', ViT, arch, 'uniform', 'dfc', img_size=224) for arch in ViT.archs),
)
