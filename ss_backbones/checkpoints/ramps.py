"""The ramps of MLPs in weights: what they must be, and how the weights of one ``ramp=...`` become those of another.

With 'paper' the state dict has the ramp r as ``pos_bias``. With 'bias' and 'none' that tensor is there and has no
entries, and what bypasses the second linear has a ``bypass_bias`` t. The MLP's outputs are the same when b + W r1, b
being the second linear's bias and r1 the ramp before it, and r2 + t, r2 being the ramp of the bypass, are the same.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..layers import Mlp
from ..networks.base import StateDict

_RAMP, _BYPASS, _WEIGHT, _BIAS = 'pos_bias', 'bypass_bias', 'fc2.weight', 'fc2.bias'


def expected_ramps(module: nn.Module) -> StateDict:
    """What the ramps of a network's blocks must be before the second linear, by their state-dict keys.

    They are float32 and on the CPU, and computed from the settings: a buffer on the meta device has no values, and
    after ``to_empty`` any. Behind the second linear the ramp of a trained network may be another.
    """
    with torch.device('cpu'):
        return {
            f'{name}{_RAMP}': mlp.expected_ramp().float()[: mlp.hidden - mlp.bypass] for name, mlp in _ramped(module)
        }


def same_ramp(ramp: Tensor, expected: Tensor) -> bool:
    """Whether a whole ramp begins as expected, but for half precision's rounding."""
    return ramp.is_meta or torch.allclose(ramp[: len(expected)].to(expected), expected, rtol=0, atol=1e-2)


def move_ramps(weights: StateDict, module: nn.Module) -> list[str]:
    """Hold the ramps in a set of weights as a network does, which changes none of its outputs.

    Ramps that are not those of the network's settings are left for others to complain about.

    Args:
        weights: In the network's keys; changed.
        module: The network.

    Returns:
        What was done, in words.
    """
    done = []
    for name, mlp in _ramped(module):
        keys = [name + key for key in (_RAMP, _WEIGHT, _BIAS)]
        if not all(isinstance(weights.get(key), Tensor) for key in keys):
            continue
        theirs, weight, bias = (weights[key] for key in keys)
        fixed, inner = mlp.ramp_as == 'paper', mlp.hidden - mlp.bypass
        if fixed == bool(theirs.numel()) or weight.shape[-1:] != (inner,) or bias.shape != weight.shape[:1]:
            continue
        if fixed:
            with torch.device('cpu'):
                ramp = mlp.expected_ramp()
            take_out(weights, name, ramp)
        else:
            if theirs.shape != (mlp.hidden,) or not same_ramp(theirs, mlp.expected_ramp()[:inner].cpu().float()):
                continue
            exact, kept = _dtypes(weight, bias)
            if mlp.bypass:
                weights[name + _BYPASS] = theirs[inner:].to(kept)
            weights[keys[0]] = theirs[:0]
            weights[keys[2]] = (bias.to(exact) + weight.to(exact) @ theirs[:inner].to(exact)).to(kept)
        done.append(f'{name}{_RAMP} ({"out of" if fixed else "into"} the biases)')
    return done


def in_biases(weights: Mapping[str, Tensor]) -> list[str]:
    """The MLPs in weights, by the starts of their keys, that have no ramp but in their biases."""
    return [key.removesuffix(_RAMP) for key, value in weights.items() if key.endswith(_RAMP) and not value.numel()]


def take_out(weights: StateDict, name: str, ramp: Tensor) -> float:
    """Take a ramp out of the biases of an MLP and hold it as ``pos_bias``, which ends as the ``bypass_bias`` was.

    The MLP computes the same whatever the ramp is, but for the rounding of the new bias.

    Args:
        weights: Changed.
        name: The start of the MLP's keys.
        ramp: (H,), or as much of it as goes into the second linear, where the weights have the rest.

    Returns:
        The most by which rounding moves an output of the second linear.
    """
    weight, bias = weights[name + _WEIGHT], weights[name + _BIAS]
    exact, kept = _dtypes(weight, bias)
    ramp, inner = ramp.to(weight.device, exact), weight.shape[1]
    if name + _BYPASS in weights:
        ramp = torch.cat((ramp[:inner], weights.pop(name + _BYPASS).to(exact)))
    moved = weight.to(exact) @ ramp[:inner]
    weights[name + _RAMP] = ramp.to(kept)
    weights[name + _BIAS] = (bias.to(exact) - moved).to(kept)
    return (weights[name + _BIAS].to(exact) + moved - bias.to(exact)).abs().max().item()


def _dtypes(weight: Tensor, bias: Tensor) -> tuple[torch.dtype, torch.dtype]:
    """What a sum is computed in, and what it is kept in: half precision would round it."""
    exact = torch.float32 if weight.device.type == 'mps' else torch.float64
    return exact, torch.promote_types(bias.dtype, torch.float32)


def _ramped(module: nn.Module) -> list[tuple[str, Mlp]]:
    """The MLPs with a ramp that is not folded, and the starts of their state-dict keys."""
    found = [(name, part) for name, part in module.named_modules() if isinstance(part, Mlp)]
    return [(f'{name}.'.lstrip('.'), mlp) for name, mlp in found if mlp.pos_bias is not None]
