"""From what a user writes for ``arch`` and ``settings`` to the checked objects."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import TypeVar

from torch import nn

from ..settings import BlockSetting, as_settings, specific_setting

Arch = TypeVar('Arch')
Settings = str | Sequence[BlockSetting | Mapping[str, float | str]]


def resolve_arch(arch: str | Mapping[str, object], known: Mapping[str, Arch]) -> Arch:
    """A name of ``known`` or a dict of the fields of its entries' dataclass, checked.

    Raises:
        ValueError: The name is unknown, or the dict lacks or has other keys.
        TypeError: It is neither.
    """
    if isinstance(arch, str):
        if arch not in known:
            raise ValueError(f'arch={arch!r} is unknown. Known are {", ".join(known)}; or give a dict.')
        return known[arch]
    if not isinstance(arch, Mapping):
        raise TypeError(f'arch must be one of {", ".join(known)} or a dict, not {type(arch).__name__}.')
    kind = type(next(iter(known.values())))
    possible = [field.name for field in fields(kind)]
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    unknown, missing = set(arch) - set(possible), needed - set(arch)
    if unknown or missing:
        raise ValueError(
            f'arch has unknown keys {sorted(unknown)} and lacks {sorted(missing)}; possible are {possible}.'
        )
    return kind(**arch)


def resolve_mlp(mlp: str, settings: Settings, kinds: Mapping[str, type[nn.Module]]) -> type[nn.Module]:
    """The class of a network's MLPs.

    Raises:
        ValueError: The name is unknown, or does not go with the name of the settings.
    """
    if mlp not in kinds:
        raise ValueError(f'mlp={mlp!r} is unknown. Known are {", ".join(kinds)}.')
    if mlp == 'dfc' and settings == 'specific':
        raise ValueError(
            "mlp='dfc' does not go with settings='specific': DFC learns the activations, ramps and bypasses that these "
            "fix, and needs whole-numbered MLP ratios, not 3.5. Take settings='uniform'."
        )
    return kinds[mlp]


def resolve_settings(settings: Settings, mlp_ratios: Sequence[float], attn_split: float) -> list[BlockSetting]:
    """One BlockSetting for every block.

    Args:
        settings: 'specific', 'uniform', or a list.
        mlp_ratios: The MLP ratio of every block of the plain network.
        attn_split: Share of the tokens that skip the projection in the last blocks of the specific setting.

    Raises:
        ValueError: The name is unknown, or the list has another length than there are blocks.
        TypeError: ``settings`` is neither a name nor a list of settings.
    """
    if settings == 'specific':
        return specific_setting(len(mlp_ratios), attn_split)
    if settings == 'uniform':
        return [BlockSetting(mlp_ratio=float(ratio)) for ratio in mlp_ratios]
    if isinstance(settings, str):
        raise ValueError(f"settings={settings!r} is unknown. Take 'specific', 'uniform' or a list of BlockSetting.")
    return as_settings(settings, len(mlp_ratios))
