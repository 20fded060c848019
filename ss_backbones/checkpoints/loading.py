"""One loader for the checkpoints of all layouts, which reports what it did and refuses to do nothing.

Known layouts: the official SS code and timm (the keys of this package), SPViT's official code, whai362/PVT, and
OpenMMLab's PVT and ViT.
"""

from collections.abc import Mapping
from os import PathLike, fspath

from torch import nn

from ..errors import CheckpointError
from .extraction import extract
from .files import read_checkpoint
from .matching import LoadReport, match


def load_weights(
    module: nn.Module,
    source: str | PathLike[str] | Mapping[str, object],
    *,
    prefix: str | None = None,
    use_ema: bool = True,
    partial: bool = False,
) -> LoadReport:
    """Load a checkpoint of any known layout into a network of this package.

    Args:
        module: The network.
        source: A file (.pth, .pt, .safetensors), an http(s) address, or the mapping that such a file holds.
        prefix: Where the network stands in the checkpoint, such as 'backbone.'; None finds it.
        use_ema: Prefer averaged weights where the checkpoint has both.
        partial: Take whatever fits, on purpose, from a checkpoint of another network, and weights that are not finite.
            The module's own ramps stay.

    Returns:
        What matched, was missing, unexpected or of the wrong shape.

    Raises:
        MismatchError: A :exc:`CheckpointError`: nothing fits; or, unless ``partial``, the checkpoint is of another
            network: less than 90% of the tensors match, a tensor or a ramp differs, it has more blocks or fewer, or it
            lacks the class token. A classifier's head may differ, and parts of the arch that the module leaves out may
            be there. Nothing is loaded then.
        CheckpointError: The file is missing, a directory, empty, damaged or no checkpoint; nothing lies under
            ``prefix``; it is of a folded model and the network is not folded, or the other way round (see
            :func:`~ss_backbones.fold`); it holds tensors that are sparse, quantized, expanded or without numbers, or
            weights of whole or complex numbers; unless ``partial``, weights that are NaN or infinite; or the network is
            on the meta device. Nothing is loaded then either.
    """
    if not isinstance(source, str | PathLike | Mapping):
        raise CheckpointError(f'The checkpoint must be a path, an address or a mapping, not {type(source).__name__}.')
    check_memory(module)
    name = 'the given mapping' if isinstance(source, Mapping) else fspath(source)
    checkpoint = source if isinstance(source, Mapping) else read_checkpoint(name)
    weights = extract(checkpoint, name, average=use_ema).tensors
    found = match(weights, module, source=name, prefix=prefix, partial=partial)
    module.load_state_dict(found.tensors, strict=False)
    return found.report


def check_memory(module: nn.Module) -> None:
    """Whether a model has memory for weights.

    Raises:
        CheckpointError: It is on the meta device.
    """
    if any(parameter.is_meta for parameter in module.parameters()):
        raise CheckpointError(
            'The model is on the meta device and has no memory to load weights into; build it elsewhere.'
        )
