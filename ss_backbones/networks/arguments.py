"""Checks of arguments that all networks share."""

from collections.abc import Sequence

from torch import Tensor


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


def check_shared(
    in_channels: int, drop_rate: float, attn_drop_rate: float, drop_path_rate: float, with_cp: bool
) -> None:
    """The arguments that every network has.

    Raises:
        ValueError: One of them is out of its range.
    """
    check_count('in_channels', in_channels)
    check_rate('drop_rate', drop_rate)
    check_rate('attn_drop_rate', attn_drop_rate)
    check_rate('drop_path_rate', drop_path_rate)
    check_flag('with_cp', with_cp)


def check_image(x: Tensor, channels: int) -> None:
    """A batch of images.

    Raises:
        ValueError: It is not (B, channels, H, W) with H and W of at least 1.
    """
    if x.ndim != 4 or x.shape[1] != channels or 0 in x.shape[2:]:
        raise ValueError(
            f'Expected images of shape (B, {channels}, H, W) with H, W >= 1, but got {tuple(x.shape)}. '
            'Images with another number of channels need in_channels=...'
        )
