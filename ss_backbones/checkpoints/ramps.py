"""The ramps of MLPs in weights: what they must be, and how the weights of one ``ramp=...`` become those of another.

With 'paper' the state dict has the ramp r as ``pos_bias``. With 'bias' and 'none' that tensor is there and has no
entries, and what bypasses the second linear has a ``bypass_bias`` t. The MLP's outputs are the same when b + W r1, b
being the second linear's bias and r1 the ramp before it, and r2 + t, r2 being the ramp of the bypass, are the same.
"""

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
        exact = torch.float32 if weight.device.type == 'mps' else torch.float64
        kept = torch.promote_types(bias.dtype, torch.float32)  # half precision would round the sum
        if fixed:
            with torch.device('cpu'):
                ramp = mlp.expected_ramp().to(weight.device, exact)
            if mlp.bypass and name + _BYPASS in weights:
                ramp[inner:] = weights.pop(name + _BYPASS)
            weights[keys[0]] = ramp.to(kept)
            sign = -1
        else:
            if theirs.shape != (mlp.hidden,) or not same_ramp(theirs, mlp.expected_ramp()[:inner].cpu().float()):
                continue
            ramp = theirs.to(exact)
            if mlp.bypass:
                weights[name + _BYPASS] = theirs[inner:].to(kept)
            weights[keys[0]] = theirs[:0]
            sign = 1
        weights[keys[2]] = (bias.to(exact) + sign * (weight.to(exact) @ ramp[:inner])).to(kept)
        done.append(f'{name}{_RAMP} ({"out of" if fixed else "into"} the biases)')
    return done


def _ramped(module: nn.Module) -> list[tuple[str, Mlp]]:
    """The MLPs with a ramp that is not folded, and the starts of their state-dict keys."""
    found = [(name, part) for name, part in module.named_modules() if isinstance(part, Mlp)]
    return [(f'{name}.'.lstrip('.'), mlp) for name, mlp in found if mlp.pos_bias is not None]
