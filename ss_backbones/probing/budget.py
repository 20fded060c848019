"""The rule's factor from a budget of multiply-adds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..complexity import Complexity
from ..settings import BlockSetting
from .errors import ProbeError
from .rule import Evidence, factors, setting_of

_SHOWN = 1000  # shares are told in thousandths


@dataclass(frozen=True)
class Fit:
    """Settings that meet a budget.

    Args:
        factor: The c of the rule, see :mod:`.rule`.
        settings: One for each block.
        cost: What the network with them costs.
    """

    factor: float
    settings: list[BlockSetting]
    cost: Complexity


def check_budget(text: str) -> float:
    """A budget as a user gives it: a share of the plain network's multiply-adds, in (0, 1].

    Raises:
        ProbeError: It is none.
    """
    try:
        budget = float(text)
    except ValueError:
        budget = math.nan
    if not 0 < budget <= 1:
        raise ProbeError(
            f"--budget {text!r} must be a number above 0 and at most 1: the share of the plain network's multiply-adds "
            'that may be used, such as 0.75.'
        )
    return budget


def fit(
    evidence: Sequence[Evidence],
    is_vit: bool,
    budget: float,
    plain_macs: int,
    cost_of: Callable[[list[BlockSetting]], Complexity],
) -> Fit:
    """The settings with the largest factor that meet the budget.

    A larger factor makes no block narrower or cheaper, and the widths change at a few known factors alone; so these
    are searched by bisection, with about log2 of (12 x blocks) counts.

    Args:
        evidence: What was measured, for each block.
        is_vit: Whether tokens may skip the attention's projection.
        budget: Share of the multiply-adds of the plain network, in (0, 1].
        plain_macs: Those of the plain network.
        cost_of: What the network with some settings costs.

    Raises:
        ProbeError: The narrowest network needs more; the text names the smallest share that can be met.
    """

    def attempt(factor: float) -> Fit:
        settings = [setting_of(item, factor, is_vit) for item in evidence]
        return Fit(factor, settings, cost_of(settings))

    possible = factors(evidence)
    best = attempt(possible[0])
    if best.cost.macs > budget * plain_macs:
        least = math.ceil(_SHOWN * best.cost.macs / plain_macs) / _SHOWN
        raise ProbeError(
            f'--budget {budget:g} cannot be met: with every block as narrow as the rule makes it, the network still '
            f"needs {best.cost.macs / plain_macs:.4f} of the plain one's multiply-adds. The smallest share that can be "
            f'met is {least:g}.'
        )
    low, high = 0, len(possible)  # the first is met, the last, which is none, is not
    while high - low > 1:
        middle = (low + high) // 2
        tried = attempt(possible[middle])
        if tried.cost.macs <= budget * plain_macs:
            low, best = middle, tried
        else:
            high = middle
    return best
