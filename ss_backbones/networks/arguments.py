"""From what a user writes for a network to the checked objects; the checks that all networks share."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from typing import Protocol, TypedDict, TypeVar

from torch import Tensor

from ..settings import BlockSetting, as_settings, specific_setting


class Arch(Protocol):
    """The shape of a network: a frozen dataclass that checks itself."""

    def plain_mlp_ratios(self) -> list[float]:
        """The MLP ratio of every block of the plain network, over all stages."""

    def widths(self) -> list[int]:
        """The channels of every block, over all stages; networks with named settings are asked for them."""


@dataclass(frozen=True)
class NamedSettings:
    """Settings of an arch under a name, such as those that a search has found.

    Args:
        arch: The name of the arch; others of the same widths can have them too.
        blocks: A setting for every block, over all stages.
    """

    arch: str
    blocks: tuple[BlockSetting, ...]


class SharedArguments(TypedDict, total=False):
    """What every network takes beside its arch and settings; see :class:`~ss_backbones.networks.Network`."""

    in_channels: int
    mlp: str
    ramp: str | None
    fused: bool
    drop_rate: float
    attn_drop_rate: float
    drop_path_rate: float
    with_cp: bool


class StagedArguments(SharedArguments, total=False):
    """What every staged network takes beside its arch and settings."""

    out_indices: int | Sequence[int]


class ColumnarArguments(SharedArguments, total=False):
    """What every columnar network takes beside its arch and settings."""

    patch_size: int | None
    linear_blocks: int | Sequence[int] | None
    pyramid: bool | str | None
    pyramid_blocks: Sequence[int] | None
    out_indices: int | Sequence[int] | None


ArchType = TypeVar('ArchType', bound=Arch)
Settings = str | Sequence[BlockSetting | Mapping[str, float | str]]


def resolve_arch(arch: str | Mapping[str, object], known: Mapping[str, ArchType]) -> ArchType:
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


def resolve_settings(
    settings: Settings,
    mlp_ratios: Sequence[float],
    attn_split: float,
    known: Mapping[str, NamedSettings],
    is_for: Callable[[str], bool],
) -> list[BlockSetting]:
    """One BlockSetting for every block.

    Args:
        settings: 'specific', 'uniform', a name of ``known``, or a list.
        mlp_ratios: The MLP ratio of every block of the plain network.
        attn_split: Share of the tokens that bypass the projection in the last blocks of the specific setting.
        known: The named settings of the family.
        is_for: Whether the network has the widths of an arch of this name.

    Raises:
        ValueError: The name is unknown or for another arch, or the list has another length than there are blocks.
        TypeError: ``settings`` is neither a name nor a list of settings.
    """
    if settings == 'specific':
        return specific_setting(len(mlp_ratios), attn_split)
    if settings == 'uniform':
        return [BlockSetting(mlp_ratio=float(ratio)) for ratio in mlp_ratios]
    if isinstance(settings, str):
        if settings not in known:
            more = f' There are also {", ".join(known)}.' if known else ''
            raise ValueError(
                f"settings={settings!r} is unknown. Take 'specific', 'uniform' or a list of BlockSetting.{more}"
            )
        named = known[settings]
        if not is_for(named.arch):
            raise ValueError(
                f'settings={settings!r} are for arch={named.arch!r}, and this network has other widths. Give '
                f'arch={named.arch!r}, or other settings.'
            )
        settings = named.blocks
    return as_settings(settings, len(mlp_ratios))


def take_any(indices: int | Sequence[int] | None, count: int, what: str, name: str) -> tuple[int, ...]:
    """As :func:`take_indices`, but None and an empty list are none of them.

    Raises:
        ValueError: See :func:`take_indices`.
    """
    return () if not isinstance(indices, int) and not indices else take_indices(indices, count, what, name)


def take_indices(indices: int | Sequence[int], count: int, what: str, name: str = 'out_indices') -> tuple[int, ...]:
    """Make ``indices`` a rising tuple of indices into ``count`` things.

    Raises:
        ValueError: An index is no whole number or out of range, there is none, or they do not rise.
    """
    if not isinstance(indices, int | Sequence) or isinstance(indices, str):
        raise ValueError(f'{name}={indices!r} must be a whole number or a list of them.')
    given = [indices] if isinstance(indices, int) else list(indices)
    if not given:
        raise ValueError(f'{name} is empty: name at least one of the {count} {what}.')
    for index in given:
        if isinstance(index, bool) or not isinstance(index, int) or not -count <= index < count:
            raise ValueError(
                f'{name}={indices}: {index!r} is out of range. There are {count} {what}: 0 to {count - 1}, '
                f'or -{count} to -1 from the end.'
            )
    taken = tuple(index % count for index in given)
    if list(taken) != sorted(set(taken)):
        raise ValueError(f'{name}={indices} must rise without repeats.')
    return taken


def check_count(name: str, value: int) -> None:
    """A number of things.

    Raises:
        ValueError: It is no whole number, or below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f'{name}={value!r} must be a whole number, 1 or more.')


def check_stages(arch: Arch, names: Sequence[str], *, whole: bool = False) -> None:
    """Fields of an arch that hold a positive number for every stage, as many as the first of them.

    Raises:
        ValueError: One holds something else; the numbers must be whole where ``whole`` says so.
    """
    first = names[0]
    for name in names:
        values = getattr(arch, name)
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise ValueError(f'arch: {name}={values!r} must be a list with one number a stage.')
        if len(values) != len(getattr(arch, first)) or not values:
            raise ValueError(
                f'arch: {name}={tuple(values)} needs one entry a stage, as {first}={tuple(getattr(arch, first))}.'
            )
        if any(not isinstance(value, int if whole else int | float) or value <= 0 for value in values):
            raise ValueError(f'arch: {name}={tuple(values)} must hold positive {"whole " * whole}numbers.')


def check_heads(dims: Sequence[int], heads: Sequence[int]) -> None:
    """Widths, and the numbers of heads that share them.

    Raises:
        ValueError: A width is no multiple of its heads.
    """
    for dim, count in zip(dims, heads, strict=True):
        if dim % count:
            raise ValueError(f'arch: a width of {dim} cannot be shared by {count} heads; make it a multiple.')


def height_and_width(name: str, given: int | Sequence[int], what: str = 'a number of pixels') -> tuple[int, int]:
    """A side, or a height and a width, as both.

    Raises:
        ValueError: It is neither.
    """
    sides = (given,) if isinstance(given, int) else given
    if isinstance(sides, str) or not isinstance(sides, Sequence) or len(sides) not in (1, 2):
        raise ValueError(f'{name}={given!r} must be {what}, or height and width.')
    for side in sides:
        check_count(name, side)
    return sides[0], sides[-1]


def check_rate(name: str, rate: float) -> None:
    """A probability of dropping something.

    Raises:
        ValueError: It is not in [0, 1).
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise ValueError(f'{name}={rate!r} is a probability and must lie in [0, 1).')


def check_flag(name: str, value: bool) -> None:
    """A switch.

    Raises:
        ValueError: It is neither True nor False; the text 'False' would count as true.
    """
    if not isinstance(value, bool):
        raise ValueError(f'{name}={value!r} must be True or False.')


def check_image(x: Tensor, channels: int) -> Tensor:
    """The batch of images as it is.

    Raises:
        ValueError: It is not (B, channels, H, W) with H and W of at least 1.
    """
    if x.ndim != 4 or x.shape[1] != channels or 0 in x.shape[2:]:
        raise ValueError(
            f'Expected images of shape (B, {channels}, H, W) with H, W >= 1, but got {tuple(x.shape)}. '
            'Images with another number of channels need in_channels=...'
        )
    return x


def explain_unknown(cls: type, unknown: Collection[str]) -> str:
    """What to say of arguments that a class does not have: the nearest, all that there are, where they come from."""
    possible = list(inspect.signature(cls).parameters)
    words = []
    for name in unknown:
        near = get_close_matches(name, possible, 1)
        words.append(f'{name} (perhaps {near[0]})' if near else name)
    return f'{cls.__name__} has no argument {", ".join(words)}. There are {", ".join(possible)}.'
