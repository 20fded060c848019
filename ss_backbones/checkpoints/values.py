"""What stands in a checkpoint's tensors: whether it is numbers in ordinary memory, such as weights are, and finite."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import CheckpointError


def check_memory(tensors: Mapping[str, Tensor], source: str) -> None:
    """Whether every tensor has each of its numbers in memory.

    Args:
        tensors: By their keys.
        source: Where they came from.

    Raises:
        CheckpointError: One is sparse, quantized, nested or on the meta device, or shows more numbers than it holds.
    """
    for key, value in tensors.items():
        if what := _other_memory(value):
            raise CheckpointError(
                f'{source}: {key} is {what}; expected are dense tensors with all their numbers. Nothing was loaded. '
                'Give the checkpoint as it was saved in training, not a converted one.'
            )


def _other_memory(value: Tensor) -> str:
    if value.layout != torch.strided:
        return f'of the layout {value.layout}'
    if value.is_nested:
        return 'a nested tensor'
    if value.is_quantized:
        return f'quantized ({value.dtype})'
    if value.is_meta:
        return 'on the meta device, without numbers'
    if type(value) in (Tensor, nn.Parameter):  # what others make of tensors keeps its numbers elsewhere
        held = value.untyped_storage().nbytes() // value.element_size()
        if value.numel() > held:
            return f'expanded: it has the shape {tuple(value.shape)} and holds {held} numbers'
    return ''


def check_numbers(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str, *, finite: bool, advice: str = ''
) -> None:
    """Whether tensors can become those of a network with the same keys, without losing what they are.

    Args:
        tensors: By their keys, in ordinary memory; those that the network does not have are passed over.
        own: The network's, of which the dtypes count.
        source: Where the tensors came from.
        finite: Refuse NaN and infinity, also where a number is too large for the network's dtype.
        advice: What else there is to do about those.

    Raises:
        CheckpointError: A tensor is of whole or complex numbers where the network's is not, or not finite.
    """
    broken = []
    for key, value in tensors.items():
        if key not in own:
            continue
        dtype = own[key].dtype
        if value.is_complex() != dtype.is_complex or (dtype.is_floating_point and not value.is_floating_point()):
            raise CheckpointError(
                f'{source}: {key} is of {_name(value.dtype)}, and the model has {_name(dtype)} there. Nothing was '
                'loaded. Give the checkpoint as it was saved in training, not a quantized one.'
            )
        if not dtype.is_floating_point or not value.is_floating_point():
            continue
        try:
            value = value.detach().to(dtype)
        except RuntimeError as error:  # of a packed dtype
            raise CheckpointError(
                f'{source}: {key} is of {_name(value.dtype)}, which cannot become {_name(dtype)}. Nothing was loaded.'
            ) from error
        if finite and not _is_finite(value):
            broken.append(key)
    if broken:
        raise CheckpointError(
            f'{source}: {in_words(broken)}. Nothing was loaded. The training that they are from has failed, or they '
            f'are too large for {_name(own[broken[0]].dtype)}; take an earlier checkpoint. {advice}'.rstrip()
        )


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """The names of the tensors that hold NaN or infinity."""
    return [name for name, value in tensors if not _is_finite(value)]


def in_words(broken: Sequence[str]) -> str:
    """Which tensors are not finite."""
    if len(broken) == 1:
        return f'1 tensors hold NaN or infinity, the first is {broken[0]}'
    return f'{len(broken)} tensors hold NaN or infinity, the first are {", ".join(broken[:3])}'


def _is_finite(value: Tensor) -> bool:
    if not (value.is_floating_point() or value.is_complex()):
        return True
    if value.is_floating_point() and value.element_size() == 1:  # there is little that torch computes in 8 bits
        value = value.float()
    return bool(value.isfinite().all())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')
