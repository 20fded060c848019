"""What a search leaves behind, read again: its record as a picture, and words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..settings import BlockSetting
from .searching import FOUND, MIXERS

_COLOURS = {'attention': '#56B4E9', 'conv3x3': '#009E73', 'conv1x1': '#E69F00', 'skip': '0.85'}  # of Okabe and Ito


def read_found(work_dir: str) -> dict[str, Any]:
    """What the search in a work dir has found.

    Raises:
        UsageError: There is nothing.
    """
    file = Path(work_dir) / FOUND
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f'{file} cannot be read ({error}): the search has not come to its end.') from error


def settings_of(found: Mapping[str, Any]) -> list[BlockSetting]:
    """The settings that were found."""
    return [BlockSetting(**setting) for setting in found['settings']]


def describe(found: Mapping[str, Any]) -> str:
    """A table of the blocks, and what they cost, in lines."""
    rows = [
        f'{number:5}  {mixer:9}  {hidden:6}'
        for number, (mixer, hidden) in enumerate(zip(found['mixers'], found['hidden'], strict=True))
    ]
    cost = (
        f'{found["macs"] / 1e9:.4g} G multiply-adds, {found["macs"] / found["dense_macs"]:.1%} of the dense network; '
        f'the budget is {found["budget"]:.1%}.'
    )
    return '\n'.join(['block  mixer      hidden', *rows, '', cost])


def draw(found: Mapping[str, Any]) -> bytes:
    """The picture, as PNG: by block and over the search the mixers and the hidden widths, and the cost."""
    import numpy as np
    from matplotlib import style
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    history, widths = found['history'], found['dense_hidden']
    steps = [record['iteration'] for record in history]
    mixers = np.array([[MIXERS.index(mixer) for mixer in record['mixers']] for record in history]).T
    kept = np.array([record['hidden'] for record in history]).T / np.array(widths)[:, None]
    blocks = len(widths)
    edges = [0.5, *((a + b) / 2 for a, b in zip(steps, steps[1:], strict=False)), steps[-1] + 0.5]
    rows = np.arange(blocks + 1) - 0.5
    with style.context({'font.size': 9, 'axes.spines.top': False, 'axes.spines.right': False}):
        height = 0.17 * blocks + 0.9
        figure = Figure(figsize=(7.5, 2 * height + 2.2), layout='constrained')
        cost, choice, units = figure.subplots(3, 1, sharex=True, height_ratios=[1.5, height, height])
        cost.plot(steps, [record['macs'] / found['dense_macs'] for record in history], color='#0072B2')
        cost.axhline(found['budget'], color='0.25', lw=1, ls='--')
        cost.set_ylim(0, 1.05)
        cost.set_title('multiply-adds, share of the dense network; dashed: the budget', loc='left', fontsize=9)
        shades = ListedColormap([_COLOURS[mixer] for mixer in MIXERS])
        choice.pcolormesh(edges, rows, mixers, cmap=shades, vmin=-0.5, vmax=len(MIXERS) - 0.5)
        choice.set_title('mixers by block', loc='left', fontsize=9)
        drawn = units.pcolormesh(edges, rows, kept, cmap='viridis', vmin=0, vmax=1)
        units.set_title('hidden units of the MLPs by block, share that is kept', loc='left', fontsize=9)
        figure.colorbar(drawn, ax=units, pad=0.01, fraction=0.03)
        for ax in (choice, units):
            ax.set_ylim(blocks - 0.5, -0.5)
            ax.set_ylabel('block')
        units.set_xlabel('iteration')
        keys = [Patch(color=_COLOURS[mixer], label=mixer) for mixer in reversed(MIXERS)]
        figure.legend(handles=keys, loc='outside lower left', ncols=len(keys), frameon=False)
        buffer = BytesIO()
        figure.savefig(buffer, format='png', dpi=120)
    return buffer.getvalue()
