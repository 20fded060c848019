"""The logic of tools/derive_settings.py."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ..checkpoints.files import CheckpointError
from ..output_files import check_new, new_file
from ..errors import UsageError
from .parsing import Parser
from ..probing import rule
from ..probing.budget import check_budget, fit
from ..probing.comparison import costs, table
from ..probing.derived_config import change_config, config_text, read_base
from ..probing.errors import ProbeError
from ..probing.reasons import reason_of
from ..probing.record import Snapshot, read_record
from ..probing.target import target_of

_CONSTANTS = ('RESOLUTION', 'STEP', 'LEAST_MLP', 'LEAST_ATTENTION', 'SURE', 'MOST_RAMP', 'MOST_SPLIT')
_ATTENTION = 'The probe does not look into the attention: attn_ratio follows the MLP, as in the paper.'

_LINEAR = (
    "The ReLU before the convolutions of PVTv2's linear variant is not accounted for in gate swing and pass-through, "
    'so act and mlp_split are guesses here.'
)


def main(argv: Sequence[str] | None = None) -> None:
    """Derive settings as the command line says, print them, and write the config.

    Raises:
        SystemExit: With code 2 after a message on stderr.
    """
    try:
        _derive(argv)
    except (CheckpointError, ProbeError, UsageError) as error:
        print(f'tools/derive_settings.py: {error}', file=sys.stderr)
        raise SystemExit(2) from None


def _derive(argv: Sequence[str] | None) -> None:
    arguments = _parser().parse_args(argv)
    probe: Path = arguments.probe
    budget = check_budget(arguments.budget)
    if arguments.shape and min(arguments.shape) < 1:
        raise ProbeError(f'--shape {arguments.shape[0]} {arguments.shape[1]}: both must be at least 1.')
    out: Path = arguments.out or probe.with_name('derived.py')
    if out.suffix != '.py':
        raise ProbeError(f'--out {out} does not end in .py, and what is written is a config.')
    record = read_record(probe)
    check_new(out)
    config, where = read_base(record, arguments.base, probe)
    target, blocks = target_of(config, where, arguments.shape), record.last.blocks
    evidence = rule.evidence_of(blocks)
    target.check_blocks(blocks)

    plain = target.cost(target.plain)
    found = fit(evidence, target.is_vit, budget, plain.macs, target.cost_of)
    settings = target.complete(found.settings)
    reasons = [
        f'{item.block.name}: {reason_of(item, setting, found.factor)}'
        for item, setting in zip(evidence, found.settings, strict=True)
    ]
    unbuilt = ['not built by this config, so not probed: plain'] * (len(settings) - len(blocks))

    notes = [*change_config(config, target), *([_LINEAR] if getattr(target.plain.arch, 'linear', False) else [])]
    header = (
        _origin(probe.name, record.last, budget),
        'The rule, with its reasons: ss_backbones/probing/rule.py; '
        + ', '.join(f'{name} = {getattr(rule, name):g}' for name in _CONSTANTS)
        + f', and c = {found.factor:.6g}. {_ATTENTION}',
    )
    needs = costs(plain, found.cost, target.cost(target.paper), target.size)
    text = config_text(config, (*header, *needs.splitlines(), *notes), settings, [*reasons, *unbuilt])
    names = [block.name for block in blocks]
    shown = table(names, found.settings, target.paper.settings[: len(blocks)])
    with new_file(out) as file:
        file.write(text.encode())
    print(header[0], "In the table the paper's setting is in brackets.", '', shown, '', sep='\n')
    print(*reasons, _ATTENTION, '', needs, *notes, f'Wrote {out}', sep='\n')


def _origin(probe: str, snapshot: Snapshot, budget: float) -> str:
    epoch = '' if snapshot.epoch is None else f', epoch {snapshot.epoch}'
    return (
        f'Settings by tools/derive_settings.py from {probe} ({snapshot.checkpoint}{epoch}) for a budget of {budget:g} '
        "of the plain network's multiply-adds."
    )


def _parser() -> Parser:
    parser = Parser(
        prog='tools/derive_settings.py',
        description="Derive settings for every block from a probe of a DFC network, print them beside the paper's with "
        'reasons, and write a config that trains the SS network with them.',
    )
    parser.add_argument('probe', metavar='PROBE.json', type=Path, help='what tools/probe.py wrote')
    parser.add_argument(
        '--budget',
        metavar='SHARE',
        required=True,
        help="share of the plain network's multiply-adds that may be used, above 0 and at most 1",
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        help='pixels of the images that multiply-adds are counted for (default: those of the network, or 224 224)',
    )
    parser.add_argument('--out', metavar='CONFIG.py', type=Path, help='the new file (default: derived.py beside it)')
    parser.add_argument('--base', metavar='CONFIG', help='a config to change (default: that of the probed training)')
    return parser
