"""An MLP out of another's hidden units."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..layers import Mlp
from .heads import with_drawn_rows

_RIDGE = 1e-3  # of the mean square of the tokens' channels, where what bypasses is fitted
_LINEAR_FROM = 2.0  # standard deviations and this much more: there an activation hardly bends


class Candidates:
    """The hidden units that an MLP may get: another's with the activation of the first, and drawn ones if it is wider.

    Args:
        old: The other MLP.
        new: The MLP.
        generator: For what is drawn.

    Attributes:
        units: An MLP with these units.
        weight: (C, hidden), the second linear that makes the other MLP of them; the bypass is part of it.
        bias: (C,), the bias of it, with the ramp, in float64.
    """

    def __init__(self, old: Mlp, new: Mlp, generator: torch.Generator) -> None:
        dim, count = old.fc1.in_features, max(old.hidden, new.hidden)
        options = {'conv': old.dwconv is not None, 'relu_before_conv': old.relu_before_conv}
        self.units = Mlp(dim, count, act=type(new.act).__name__, **options).to(old.fc1.weight).eval()
        rows = slice(0, old.hidden)
        self.units.fc1.weight.copy_(with_drawn_rows(old.fc1.weight, count, generator))
        self.units.fc1.bias.zero_()
        self.units.fc1.bias[rows] = old.fc1.bias
        if old.dwconv is not None:
            self.units.dwconv.weight[rows], self.units.dwconv.bias[rows] = old.dwconv.weight, old.dwconv.bias
        inner, channels = old.fc2.in_features, old.fc2.out_features
        self.weight = old.fc1.weight.new_zeros(dim, count)
        self.weight[:channels, :inner] = old.fc2.weight
        self.weight[channels:, inner : old.hidden] = torch.eye(old.bypass).to(self.weight)
        self.bias = bias_with_ramp(old)

    def take(self, new: Mlp, chosen: Tensor) -> None:
        """Make these units the first ones of the new MLP."""
        rows, chosen = slice(0, len(chosen)), chosen.to(self.weight.device)
        for name in ('fc1', 'dwconv'):
            theirs, own = getattr(self.units, name), getattr(new, name)
            if own is not None:
                own.weight[rows], own.bias[rows] = theirs.weight[chosen], theirs.bias[chosen]


def fit_bypass(new: Mlp, batches: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> Tensor:
    """Fit the hidden units that bypass the second linear, which no weight follows.

    A unit is given the linear function of its token that is nearest to what is wanted of its channel, and so much
    more that the activation hardly bends it, which the bias of the bypass takes off again.

    Args:
        new: The MLP.
        batches: Gives tokens (B, ..., C), as the MLP gets them, and what is wanted of it (B, ..., C).

    Returns:
        (bypass,), what that bias must be, in float64; 0 where the MLP has none.
    """
    count, dim = new.bypass, new.fc1.in_features
    sums = torch.zeros(dim + 1, dim + 1 + count, dtype=torch.float64)
    for tokens, wanted in batches():
        f = F.pad(tokens.flatten(0, -2), (0, 1), value=1.0).double()
        sums += (f.t() @ torch.cat((f, wanted[..., -count:].flatten(0, -2).double()), dim=1)).cpu()
    matrix, products = sums[:, :-count], sums[:, -count:]
    fit = torch.linalg.solve(matrix + _ridge(matrix), products).t()
    moments = matrix / matrix[-1, -1]
    mean, square = fit @ moments[-1], (fit @ moments * fit).sum(1)
    more = _LINEAR_FROM * (1 + (square - mean**2).clamp(min=0).sqrt()) if has_bypass_bias(new) else 0 * mean
    new.fc1.weight[-count:], new.fc1.bias[-count:] = fit[:, :-1], fit[:, -1] + more
    if new.dwconv is not None:
        new.dwconv.weight[-count:], new.dwconv.bias[-count:] = 0, 0
        new.dwconv.weight[-count:, :, 1, 1] = 1
    left = torch.zeros(count, dtype=torch.float64)
    if has_bypass_bias(new):
        for tokens, wanted in batches():
            over = wanted[..., -count:] - new.features(tokens)[..., -count:]
            left += over.flatten(0, -2).double().sum(0).cpu()
    return left / matrix[-1, -1]


def has_bypass_bias(mlp: Mlp) -> bool:
    """Whether something is added to what bypasses the second linear: the ramp, or what is learned in its place."""
    return mlp.pos_bias is not None


def set_outputs(mlp: Mlp, weight: Tensor, bias: Tensor, shift: Tensor) -> None:
    """The second linear, and what is added to the bypass, as they are without a ramp; which is taken off again.

    Args:
        mlp: The MLP.
        weight: (D, hidden), in float64.
        bias: (D,).
        shift: (bypass,).
    """
    if mlp.has_fixed_ramp():
        inner = mlp.fc2.in_features
        bias = bias - weight @ mlp.pos_bias[:inner].to(weight)
        mlp.pos_bias[inner:] = shift
    elif mlp.bypass_bias is not None:
        mlp.bypass_bias.copy_(shift)
    mlp.fc2.weight.copy_(weight)
    mlp.fc2.bias.copy_(bias)


def bias_with_ramp(mlp: Mlp) -> Tensor:
    """(C,), what is added to the second linear and the bypass of the hidden features without a ramp, in float64."""
    inner, bias = mlp.fc2.in_features, mlp.fc2.bias.double()
    shift = bias.new_zeros(mlp.bypass)
    if mlp.has_fixed_ramp():
        ramp = mlp.pos_bias.double()
        bias, shift = bias + mlp.fc2.weight.double() @ ramp[:inner], ramp[inner:]
    elif mlp.bypass_bias is not None:
        shift = mlp.bypass_bias.double()
    return torch.cat((bias, shift))


def _ridge(matrix: Tensor) -> Tensor:
    """A share of the mean square of the features on their part of the diagonal, and nothing for the 1."""
    return torch.diag(F.pad((_RIDGE * matrix.diagonal()[:-1].mean()).expand(len(matrix) - 1), (0, 1)))
