"""Prints, and draws, the setting of every block of a network and what it costs beside the plain twin's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..output_files import check_new
from .named_model import add_model_arguments, build, check_shape
from .parsing import Parser

if TYPE_CHECKING:
    from ..benchmark.blocks import BlockRow, Cost
    from ..networks import Network

_DESCRIPTION = """Print the setting of every block of a network of this package, and what each block costs.

  ss-backbones show-settings ss_pvt_v2_b2
  ss-backbones show-settings ss_backbones::mask_rcnn/mask-rcnn_ss-pvtv2-b2_fpn_1x_coco.py --shape 800 1344 --no-time
  ss-backbones show-settings ss_vit_tiny_patch16_224 --out settings.png

Every cost stands beside that of the same block of the plain twin, the same arch with settings='uniform'. Times are
medians of forward passes of one image in float32 on the CPU, of both networks in turn; ratios those of each round."""
_RAMPS = {'paper': 'a fixed tensor', 'bias': 'in the biases from the start', 'none': 'in no bias at the start'}


def main(argv: Sequence[str], program: str) -> None:
    """Show what the command line says.

    Raises:
        UserError: What the user can fix.
    """
    parser = Parser(program, _DESCRIPTION)
    add_model_arguments(parser)
    parser.add_argument('--out', type=Path, metavar='OUT.png', help='draw the same as a picture, a new file')
    parser.add_argument('--no-time', action='store_true', help='count multiply-adds alone')
    parser.add_argument('--runs', type=int, default=15, help='timed forward passes of each network; default 15')
    arguments = parser.parse_args(argv)
    name, (height, width), out = arguments.model, arguments.shape, arguments.out
    check_shape(height, width)
    if arguments.runs < 1:
        raise UsageError(f'--runs {arguments.runs}: at least one run is needed.')
    if out is not None:
        if out.suffix != '.png':
            raise UsageError(f'{out} does not end in .png.')
        check_new(out)

    import torch

    from .. import register

    register()
    from ..benchmark.blocks import block_rows, costs
    from ..benchmark.machine import busy_share, processor_time
    from ..benchmark.memory import explain

    # where nothing is timed, weights need no memory
    with torch.device('meta') if arguments.no_time else nullcontext():
        network, plain = _with_plain_twin(name)
    start = processor_time()
    try:
        found = costs(network, plain, height, width, None if arguments.no_time else arguments.runs)
    except RuntimeError as error:  # of torch: such as too large an image
        raise UsageError(f'{name} cannot be run at {height} x {width} here: {explain(error)}') from error
    rows, title = block_rows(network), f'{name} at {height} x {width}'
    machine = '' if arguments.no_time else _machine(arguments.runs, busy_share(start))
    print(f'{title}, beside its plain twin')
    _print(rows, *found)
    print(machine or 'No times were taken (--no-time).')
    if out is not None:
        from ..benchmark.figures import save
        from ..benchmark.settings_picture import draw

        save(draw(rows, block_rows(plain), *found, title, machine), out)
        print(f'{out}: {len(rows)} blocks')


def _with_plain_twin(name: str) -> tuple[Network, Network]:
    """The network, and the same with settings='uniform', both for evaluation.

    Raises:
        UsageError: There is none of this package.
    """
    from ..networks import network_in

    model = build(name)
    try:
        network = network_in(model)
    except ValueError as error:
        raise UsageError(f'{name}: {error} Its blocks have no settings.{_hint(name)}') from error
    standard = {} if network.mlp == 'standard' else {'mlp': 'standard'}
    return network.eval(), network_in(build(name, settings='uniform', **standard)).eval()


def _hint(name: str) -> str:
    """What may have been meant."""
    from difflib import get_close_matches

    from ..timm_models import model_names

    near = get_close_matches(name, model_names(), 3)
    return f' Perhaps: {", ".join(near)}' if near else ''


def _machine(runs: int, busy: float | None) -> str:
    """What the times hold for."""
    import torch

    from ..benchmark.machine import machine_name
    from ..benchmark.results import BUSY

    words = [machine_name('cpu'), f'torch {torch.__version__}', f'one image, float32, medians of {runs} runs in turn']
    if busy is not None and busy >= BUSY:
        words.append(f'{busy:.0%} of the processors were with other processes')
    return ', '.join(words)


def _print(rows: Sequence[BlockRow], blocks: Sequence[Cost], outside: Cost, total: Cost) -> None:
    from ..tables import print_table

    mixers, timed = any(row.mixer != 'attention' for row in rows), total.seconds is not None
    columns = {'block': '', 'C': 'd', 'MLP': 'd', 'attention': '', 'act': '', 'ramp': '', 'MLP bypass': ''}
    columns |= {'token bypass': ''} | ({'mixer': ''} if mixers else {})
    blank = len(columns) - 1
    columns |= {'MMACs': '.2f', 'plain': '.2f', 'ratio': '.2f'}
    columns |= {'ms': '.2f', 'plain ms': '.2f', 'ms ratio': '.2f'} if timed else {}
    table = [
        [*_settings(row), *([row.mixer] if mixers else []), *_costs(cost)]
        for row, cost in zip(rows, blocks, strict=True)
    ]
    table += [[name, *[None] * blank, *_costs(cost)] for name, cost in (('outside', outside), ('total', total))]
    print_table(columns, [row[: len(columns)] for row in table])
    print("C: the block's channels; MLP: hidden channels; attention: heads x channels of each")
    if held := sorted({row.ramp_as for row in rows if row.ramp}):
        print('ramp: where it ends, and how it is held: ' + '; '.join(f'{word}, {_RAMPS[word]}' for word in held))
    if any(row.mlp_bypass or row.token_bypass for row in rows):
        print('bypass: hidden channels that skip the second linear layer; tokens that skip the output projection')
    print('outside: all but the blocks, such as embeddings, downsampling, norms and the head')


def _settings(row: BlockRow) -> list[str | int | None]:
    return [
        row.name,
        row.dim,
        row.hidden,
        f'{row.heads[0]} x {row.heads[1]}' if row.heads else None,
        row.act,
        f'{row.ramp:.2f} {row.ramp_as}' if row.ramp else None,
        f'{row.mlp_bypass} of {row.hidden}' if row.mlp_bypass else None,
        f'{row.token_bypass:.0%}' if row.token_bypass else None,
    ]


def _costs(cost: Cost) -> list[float | None]:
    milliseconds = [seconds and seconds * 1e3 for seconds in (cost.seconds, cost.plain_seconds)]
    return [cost.macs / 1e6, cost.plain_macs / 1e6, cost.macs_ratio, *milliseconds, cost.time_ratio]
