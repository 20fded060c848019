"""Inheriting from end to end: the images, the blocks, and what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..complexity import module_macs
from ..errors import DataError
from ..layers import Attention, Block, Mlp
from .images import Images, Labelled, choose
from .inheriting import inherit_blocks
from .models import Model


@dataclass(frozen=True)
class BlockReport:
    """A block before and after.

    Args:
        name: Its name in the network.
        changes: What its setting changed, in words.
        macs: Multiply-adds for one image, of the trained block and of the new one.
        error: See :class:`~ss_backbones.compress.BlockError`.
    """

    name: str
    changes: str
    macs: tuple[int, int]
    error: float


@dataclass(frozen=True)
class InheritReport:
    """What inheriting left over.

    Args:
        images: How many images the weights were made from.
        size: (C, H, W) of the first.
        blocks: One for each block.
        macs: Multiply-adds for one image of that size, of the trained network and of the new one.
        checked: How many images the rest is about, in words.
        agreement: Share of them of which both networks see the same class; None without classes.
        top1: Share of them of which the networks see the right class; None where there are no labels.
        map_errors: For each map of a backbone the mean square of the difference relative to the map's variance.
    """

    images: int
    size: tuple[int, ...]
    blocks: tuple[BlockReport, ...]
    macs: tuple[int, int]
    checked: str
    agreement: float | None = None
    top1: tuple[float, float] | None = None
    map_errors: tuple[float, ...] = ()


def inherit(
    source: nn.Module,
    model: Model,
    files: Sequence[Labelled],
    *,
    count: int = 1024,
    batch_size: int = 32,
    seed: int = 0,
    device: str = 'cpu',
) -> tuple[nn.Module, InheritReport]:
    """Make a network out of a trained one, and say on stderr how it goes.

    Args:
        source: The trained network, see :func:`~.sources.build_source`.
        model: What inherits from it.
        files: Images and their classes.
        count: How many of them the weights are made from; as many others are for the report, if there are.
        batch_size: Images at a time.
        seed: Which images are taken.
        device: Where it is computed.

    Returns:
        The network in evaluation mode, and the report.

    Raises:
        UserError: The images are too few, or cannot be read.
    """
    dtype, classes = next(source.parameters()).dtype, getattr(source, 'num_classes', 0)
    target = model.build(None, classes).to(device, dtype).eval()
    source, taken = source.to(device), choose(files, 2 * count, seed)
    images = Images(taken[:count], model.prepare, batch_size, dtype)
    first = next(iter(images), None)
    if first is None:
        raise DataError(f'None of the {len(taken[:count])} images can be read.')
    names = [name for name, part in target.named_modules() if isinstance(part, Block)]
    (total, theirs), (new_total, ours) = (
        module_macs(network, names, (1, *first.shape[1:])) for network in (source, target)
    )
    blocks, start = [], time.perf_counter()
    for found in inherit_blocks(source, target, images):
        i, name = found.block, names[found.block]
        changes = changed(source.get_submodule(name), target.get_submodule(name))
        blocks.append(BlockReport(name, changes, (theirs[i], ours[i]), found.error))
        left = (time.perf_counter() - start) * sum(theirs[i + 1 :]) / sum(theirs[: i + 1])
        sys.stderr.write(f'{name}: {found.error:.4f} left over; about {left:.0f} s to go\n')
    others = taken[count:]
    checked = f'{len(others)} other images' if others else f'the same {len(images)} images'
    outcome = _compare(source, target, Images(others or taken, model.prepare, batch_size, dtype), device)
    if len({label for _, label in files}) != classes:  # the folders are no classes of the network
        outcome.pop('top1', None)
    return target, InheritReport(
        images=len(images),
        size=tuple(first.shape[1:]),
        blocks=tuple(blocks),
        macs=(total, new_total),
        checked=checked,
        **outcome,
    )


def changed(old: Block, new: Block) -> str:
    """What another setting made of a block, in words."""
    pairs: list[tuple[str, object, object]] = []
    if isinstance(new.attn, Attention):
        pairs += [
            ('head', old.attn.head_dim, new.attn.head_dim),
            ('token bypass', old.attn.token_bypass, new.attn.token_bypass),
        ]
    if isinstance(new.mlp, Mlp):
        pairs += [
            ('hidden', old.mlp.hidden, new.mlp.hidden),
            ('act', type(old.mlp.act).__name__, type(new.mlp.act).__name__),
            ('bypass', old.mlp.bypass, new.mlp.bypass),
            ('ramp', f'{old.mlp.ramp:.3g}', f'{new.mlp.ramp:.3g}'),
        ]
    return ', '.join(f'{name} {before} to {after}' for name, before, after in pairs if before != after) or 'nothing'


@torch.inference_mode()
def _compare(source: nn.Module, target: nn.Module, images: Images, device: str) -> dict[str, Any]:
    """How near the outputs of two networks are; see :class:`InheritReport`."""
    count, same, right = 0, 0, torch.zeros(2)
    errors: list[Tensor] = []
    for batch, labels in images.labelled():
        theirs, ours = (network(batch.to(device)) for network in (source, target))
        count += len(batch)
        if isinstance(theirs, Tensor):
            seen = [logits.argmax(1).cpu() for logits in (theirs, ours)]
            same += (seen[0] == seen[1]).sum().item()
            right += torch.tensor([(guess == labels).sum() for guess in seen])
        else:
            pairs = zip(theirs, ours, strict=True)
            errors.append(
                torch.stack([(a - b).square().mean() / a.var() for a, b in pairs]).double().cpu() * len(batch)
            )
    if errors:
        return {'map_errors': tuple((sum(errors) / count).tolist())}
    return {'agreement': same / count, 'top1': tuple((right / count).tolist())} if source.num_classes else {}
