"""Writing checkpoint files."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..layers.mlp import ALL_ACTIVATIONS
from ..output_files import new_file
from .activations import activations_in

SAFETENSORS = '.safetensors'


def write_checkpoint(content: Mapping[str, object], out: Path) -> None:
    """torch.save to a new file.

    Raises:
        OutputError: See :func:`~ss_backbones.output_files.new_file`.
    """
    with new_file(out) as file:
        torch.save(content, file)


def write_safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], out: Path) -> None:
    """Contiguous tensors that share no memory to a new .safetensors file, with the activations in their metadata.

    Raises:
        OutputError: See :func:`~ss_backbones.output_files.new_file`.
    """
    from safetensors.torch import save  # only those who use the format need it

    activations = activations_in(tensors)
    known = {ALL_ACTIVATIONS: json.dumps(activations)} if activations else {}
    with new_file(out) as file:
        file.write(save(dict(tensors), {**metadata, **known}))
