"""The ramps of networks that hold them in their biases, as the official code needs them: whole, in ``mlp.pos_bias``."""

import re
from collections.abc import Mapping

import torch
from timm.utils.misc import natural_key
from torch import Tensor

from ..networks import StagedNetwork
from ..networks.base import StateDict
from ..networks.catalog import families
from ..settings import specific_setting
from .ramps import in_biases, take_out

_EXACT = 1e-13  # of float64: what rounding makes of outputs that are the same


def hold_as_official(weights: StateDict, known: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Take all ramps out of the biases; nothing is done where none is there.

    A network computes the same whatever ramp is taken out of its biases. It is that of the known network, if the
    weights are of one, or else the one of the paper's rule, so that a network with ``ramp='paper'`` takes the weights.

    Args:
        weights: In this package's keys; changed.
        known: The ramps of the known network that the weights are of, by key; as far as they go into the second linear.

    Returns:
        What the user should know of it, in words.
    """
    starts = in_biases(weights)
    if not starts:
        return ()
    lists = '|'.join({network.stage_list for network in families().values() if issubclass(network, StagedNetwork)})
    block = re.compile(rf'(?:(?:{lists})\.\d+\.)?blocks\.\d+\.')
    blocks = sorted({match[0] for key in weights if (match := block.match(key))}, key=natural_key)
    rule = dict(zip(blocks, specific_setting(len(blocks)), strict=True)) if blocks else {}
    lost, guessed = 0.0, []
    for start in starts:
        hidden, inner = weights[f'{start}fc1.weight'].shape[0], weights[f'{start}fc2.weight'].shape[1]
        ramp = known.get(f'{start}pos_bias')
        if ramp is None or len(ramp) != inner:
            setting = rule.get(start.removesuffix('mlp.'))
            ramp = torch.linspace(0, setting.pos_scale if setting else 0, hidden, dtype=torch.float32, device='cpu')
            guessed.append(start)
        lost = max(lost, take_out(weights, start, ramp))
    rounding = f', but for rounding, which moves what the second linears return by up to {lost:.1e}'
    notes = [
        f'The ramps of {len(starts)} blocks were in biases and are in mlp.pos_bias now, as in the official code: the '
        f'outputs are the same{rounding if lost > _EXACT else ""}.'
    ]
    if guessed:
        notes.append(
            f'They are of no known network, so the ramps of {len(guessed)} blocks are those of the paper for '
            f'{len(blocks)} blocks. The official code computes the same with any; a network of this package with '
            "ramp='paper' takes them where its settings have the same ramps."
        )
    return tuple(notes)
