"""What each block of a network looks like, and what it costs beside the same block of the plain twin."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from ..complexity import module_macs
from ..layers import Attention, Block, DfcMlp, HiddenMlp, Mlp
from ..networks import Network
from ..settings import BlockSetting
from .plan import Plan
from .results import quartiles, ratios
from .steps import WARM_UP, inference, rounds


@dataclass(frozen=True)
class BlockRow:
    """A block as it is built.

    Args:
        name: Its name in the network.
        dim: Its channels.
        hidden: Hidden channels of its MLP; None where the MLP is none of this package's.
        mlp_bypass: How many of them, the last ones, bypass the second linear.
        heads: Heads of its attention and channels of each; None where it has none.
        token_bypass: Share of the tokens that bypass the attention's output projection.
        act: Activation of the MLP, or 'DFC', which learns one; None where it is none of this package's.
        ramp: End of its ramp, 0 for none.
        ramp_as: How that is held, see :class:`~ss_backbones.BlockSetting`.
        mixer: What mixes its tokens, see there.
    """

    name: str
    dim: int
    hidden: int | None
    mlp_bypass: int
    heads: tuple[int, int] | None
    token_bypass: float
    act: str | None
    ramp: float
    ramp_as: str
    mixer: str

    @property
    def stage(self) -> str:
        """The name of the list that it stands in."""
        return self.name.rpartition('.')[0]

    @property
    def attention_width(self) -> int | None:
        """Channels of queries, keys and values."""
        return self.heads and self.heads[0] * self.heads[1]

    @property
    def short_name(self) -> str:
        """The numbers of its name: '1.0' of the stages' blocks, '3' where there are no stages."""
        return '.'.join(part for part in self.name.split('.') if part.isdigit())


@dataclass(frozen=True)
class Times:
    """Seconds of a network's forward passes.

    Args:
        blocks: (passes, blocks).
        total: (passes,), of the whole network.
    """

    blocks: np.ndarray
    total: np.ndarray

    @cached_property
    def parts(self) -> np.ndarray:
        """(blocks + 2, passes): the blocks, what is outside of them, and everything."""
        return np.vstack([self.blocks.T, self.total - self.blocks.sum(1), self.total])


@dataclass(frozen=True)
class Cost:
    """A block, or another part, beside that of the plain twin.

    Args:
        macs: Multiply-adds of a forward pass.
        plain_macs: Those of the twin's.
        seconds: The median of some forward passes, or None.
        plain_seconds: That of the twin's, or None.
        time_ratio: The median of how long it took in each round over how long the twin's took, or None.
    """

    macs: int
    plain_macs: int
    seconds: float | None = None
    plain_seconds: float | None = None
    time_ratio: float | None = None

    @property
    def macs_ratio(self) -> float | None:
        """Of the multiply-adds; None where the twin's has none."""
        return self.macs / self.plain_macs if self.plain_macs else None


def block_rows(network: Network) -> list[BlockRow]:
    """The built blocks of a network, in the order of their settings."""
    names = {module: name for name, module in network.named_modules()}
    blocks = network.all_blocks()
    return [_row(names[block], block, setting) for block, setting in zip(blocks, network.settings, strict=False)]


def _row(name: str, block: Block, setting: BlockSetting) -> BlockRow:
    attn, mlp = block.attn, block.mlp
    own, has_heads = isinstance(mlp, Mlp), isinstance(attn, Attention)
    return BlockRow(
        name=name,
        dim=block.norm1.normalized_shape[0],
        hidden=mlp.hidden if isinstance(mlp, HiddenMlp) else None,
        mlp_bypass=mlp.bypass if own else 0,
        heads=(attn.num_heads, attn.head_dim) if has_heads else None,
        token_bypass=attn.token_bypass if has_heads else 0.0,
        act=mlp.activation if own else 'DFC' if isinstance(mlp, DfcMlp) else None,
        ramp=mlp.ramp if own else 0.0,
        ramp_as=setting.ramp,
        mixer=setting.mixer,
    )


def count_blocks(network: Network, height: int, width: int) -> list[int]:
    """Multiply-adds of every block, of what is outside of them, and of everything, for one image of so many pixels."""
    names = [row.name for row in block_rows(network)]
    total, inside = module_macs(network, names, (1, network.in_channels, height, width))
    return [*inside, total - sum(inside), total]


def time_blocks(networks: Mapping[str, Network], height: int, width: int, count: int) -> dict[str, Times]:
    """Time forward passes of one image and the blocks in them, of all networks in turn.

    Args:
        networks: By name, in evaluation mode.
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        count: How many passes of each are timed, after some that are not.
    """
    plan, laps, runs = Plan(), {}, {}
    with ExitStack() as hooked:
        for name, network in networks.items():
            x = torch.randn(1, network.in_channels, height, width, generator=torch.Generator().manual_seed(0))
            runs[name] = inference(network, x, plan)
            for _ in range(WARM_UP):
                runs[name]()
            laps[name] = hooked.enter_context(_clocked(network.all_blocks(), plan.wait))
        totals = list(rounds(runs, count, plan.wait))
    return {
        name: Times(np.reshape(laps[name], (count, -1)), np.array([seconds[name] for seconds in totals]))
        for name in networks
    }


@contextmanager
def _clocked(blocks: Sequence[nn.Module], wait: Callable[[], object]) -> Iterator[list[float]]:
    """A list that gets the seconds of each block, pass after pass."""
    laps: list[float] = []
    start = 0.0

    def begin(*_: object) -> None:
        nonlocal start
        wait()
        start = time.perf_counter()

    def end(*_: object) -> None:
        wait()
        laps.append(time.perf_counter() - start)

    handles = [handle for b in blocks for handle in (b.register_forward_pre_hook(begin), b.register_forward_hook(end))]
    try:
        yield laps
    finally:
        for handle in handles:
            handle.remove()


def costs(
    network: Network, plain: Network, height: int, width: int, count: int | None = None
) -> tuple[list[Cost], Cost, Cost]:
    """What each block costs, what all costs that is outside of the blocks, and what everything costs.

    Args:
        network: The network, in evaluation mode.
        plain: Its plain twin, with as many blocks.
        height: Of the one image, in pixels.
        width: Of the one image, in pixels.
        count: How many forward passes of each are timed; None for no times.
    """
    macs = [count_blocks(each, height, width) for each in (network, plain)]
    found = [Cost(*each) for each in zip(*macs, strict=True)]
    if count is not None:
        times = time_blocks({'own': network, 'plain': plain}, height, width, count)
        own, theirs = times['own'].parts, times['plain'].parts
        found = [
            Cost(cost.macs, cost.plain_macs, quartiles(a)[1], quartiles(b)[1], ratios(a, b)[1])
            for cost, a, b in zip(found, own, theirs, strict=True)
        ]
    *blocks, outside, total = found
    return blocks, outside, total
