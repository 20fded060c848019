"""What is asked of a search, and the loss that it makes of the cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from torch import nn

from ..errors import UsageError
from ..networks import Network
from ..networks.searching import SearchCost

GIGA = 1e9
_KEY = 'search'  # of a config
_PULL = 40.0  # the paper's cost loss of a dense network with nothing to spend is between 24 and 63


@dataclass(frozen=True)
class SearchPlan:
    """What is asked of a search; ``search`` in a config.

    Args:
        budget: Share of the dense network's multiply-adds, in (0, 1], that the found one shall have.
        checkpoint: Weights of the dense network, in any layout; None where the config names them.
        shape: Height and width in pixels of the images that multiply-adds are counted for; None for those that the
            network is made for.
        weight: Of the cost's loss, ``weight * (target - cost)^2`` with both in G; None for 40 over the square of the
            dense network's cost in G, which lies amid the paper's.
        lr: The gates' learning rate.
    """

    budget: float
    checkpoint: str | None = None
    shape: tuple[int, int] | None = None
    weight: float | None = None
    lr: float = 1e-3

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> SearchPlan:
        """What a config asks for.

        Raises:
            UsageError: It asks for no search, or for one that there is not.
        """
        given = config.get(_KEY)
        if not isinstance(given, Mapping) or given.get('budget') is None:
            raise UsageError(
                "A search needs a budget, the share of the dense network's multiply-adds that is left: --budget 0.7, "
                'or search=dict(budget=0.7) in the config.'
            )
        names = [field.name for field in fields(cls)]
        if unknown := sorted(set(given) - set(names)):
            raise UsageError(f'search has unknown keys {unknown}; known are {names}.')
        plan = cls(**given)
        for name, least in (('budget', 0), ('weight', 0), ('lr', 0)):
            value = getattr(plan, name)
            if value is not None and not (_is_number(value) and value > least):
                raise UsageError(f'search.{name}={value!r} must be a number above {least}.')
        if plan.budget > 1:
            raise UsageError(
                f"search.budget={plan.budget!r} is a share of the dense network's multiply-adds and must lie in (0, 1]."
            )
        if plan.shape is not None and not (
            len(plan.shape) == 2 and all(isinstance(side, int) and side > 0 for side in plan.shape)
        ):
            raise UsageError(f'search.shape={plan.shape!r} must be height and width in pixels.')
        return plan

    def cost_of(self, network: Network) -> SearchCost:
        """The cost of a searched network."""
        return SearchCost.of(network, *(self.shape or getattr(network, 'img_size', (224, 224))))

    def check(self, cost: SearchCost) -> None:
        """Whether the budget can be met.

        Raises:
            UsageError: It cannot.
        """
        if self.budget * cost.dense <= cost.least:
            but = ' but the one that a class token needs,' if cost.network.needs_attention else ''
            raise UsageError(
                f'The budget of {self.budget:g} is {self.budget * cost.dense / GIGA:.4g} G multiply-adds of '
                f'{cost.dense / GIGA:.4g} G, but {cost.least / GIGA:.4g} G are left where all attention is '
                f'skipped{but} and each MLP has one unit. Take a budget above {cost.least / cost.dense:.3g}.'
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def add_cost_loss(model: nn.Module, plan: SearchPlan, cost: SearchCost) -> None:
    """Let a model's losses have that of the cost, ``loss_cost``, in the same forward pass, so that DDP sees it."""
    dense = cost.dense / GIGA
    weight = _PULL / dense**2 if plan.weight is None else plan.weight
    hook = partial(_with_cost, cost=cost, target=plan.budget * dense, weight=weight)
    model.register_forward_hook(hook, with_kwargs=True)


def _with_cost(
    model: nn.Module,
    positional: tuple[object, ...],
    named: Mapping[str, object],
    output: object,
    *,
    cost: SearchCost,
    target: float,
    weight: float,
) -> object:
    if named.get('mode') != 'loss' or not isinstance(output, Mapping):
        return output
    # mmengine logs the sum of all losses as 'loss', and a part of that name would take its place there
    losses = {'loss_task' if name == 'loss' else name: value for name, value in output.items()}
    return {**losses, 'loss_cost': weight * (target - cost.total() / GIGA).square().float()}
