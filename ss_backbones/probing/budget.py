"""The rule's factor from a budget of multiply-adds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..complexity import Complexity
from ..errors import ProbeError
from ..settings import BlockSetting
from .rule import Evidence, factors, setting_of
from .target import Target

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


def fit(evidence: Sequence[Evidence], target: Target, budget: float) -> Fit:
    """The settings with the largest factor that meet the budget.

    A larger factor makes no block narrower or cheaper, and the widths change at a few known factors alone; so these
    are searched by bisection, with about log2 of (12 x blocks) counts.

    Args:
        evidence: What was measured, for each block.
        target: The network.
        budget: Share of the multiply-adds of the plain network, in (0, 1].

    Raises:
        ProbeError: The narrowest network needs more; the text names the smallest share that can be met.
    """
    plain, splits_tokens = target.plain_cost.macs, target.splits_tokens

    def attempt(factor: float) -> Fit:
        settings = [setting_of(item, factor, splits_tokens) for item in evidence]
        return Fit(factor, settings, target.cost_of(settings))

    possible = factors(evidence)
    best = attempt(possible[0])
    if best.cost.macs > budget * plain:
        least = math.ceil(_SHOWN * best.cost.macs / plain) / _SHOWN
        raise ProbeError(
            f'--budget {budget:g} cannot be met: with every block as narrow as the rule makes it, the network still '
            f"needs {best.cost.macs / plain:.4f} of the plain one's multiply-adds. The smallest share that can be "
            f'met is {least:g}.'
        )
    low, high = 0, len(possible)  # the first is met, the last, which is none, is not
    while high - low > 1:
        middle = (low + high) // 2
        tried = attempt(possible[middle])
        if tried.cost.macs <= budget * plain:
            low, best = middle, tried
        else:
            high = middle
    return best
