"""``derive-settings``: settings for every block out of a probe, and the config that trains a network with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ProbeError, UsageError
from ..output_files import check_new, new_file
from .parsing import Parser, pixels, share_of_macs

if TYPE_CHECKING:
    from ..settings import BlockSetting

_CONSTANTS = ('RESOLUTION', 'STEP', 'LEAST_MLP', 'LEAST_ATTENTION', 'SURE', 'BY_CHANCE', 'MOST_RAMP', 'MOST_SPLIT')
_ATTENTION = 'The probe does not look into the attention: attn_ratio follows the MLP, as in the paper.'
_LINEAR = (
    "The ReLU before the convolutions of PVTv2's linear variant is not accounted for in gate swing and pass-through, "
    'so act and mlp_split are guesses here.'
)


def main(argv: Sequence[str], program: str) -> None:
    """Derive settings as the command line says, print them, and write the config.

    Raises:
        UserError: The command line is wrong, no settings follow from the probe, or the config cannot be written.
    """
    arguments = _parser(program).parse_args(argv)
    probe: Path = arguments.probe
    out: Path = arguments.out or probe.with_name('derived.py')
    if out.suffix != '.py':
        raise UsageError(f'--out {out} does not end in .py, and what is written is a config.')
    from .. import register
    from ..probing import rule
    from ..probing.budget import fit
    from ..probing.derived_config import change_config, config_text, read_base
    from ..probing.record import read_record
    from ..probing.target import target_of

    record = read_record(probe)
    check_new(out)
    register()
    config, where = read_base(record, arguments.base, probe)
    target, blocks = target_of(config, where, arguments.shape and tuple(arguments.shape)), record.last.blocks
    evidence = rule.evidence_of(blocks)
    target.check_blocks(blocks)
    if nothing := rule.why_nothing_follows(evidence):
        nothing = f'The probe shows no difference between the blocks to derive settings from: {nothing}.'
        if not arguments.allow_uniform:
            raise ProbeError(
                f'{nothing} Nothing is written. Train the network with DFC for longer, or on more data, and probe it '
                'again; --allow-uniform writes one setting for all blocks within the budget.'
            )

    found = fit(evidence, target, arguments.budget)
    settings = target.complete(found.settings)
    reasons = [
        f'{item.block.name}: {rule.reason_of(item, setting, found.factor)}'
        for item, setting in zip(evidence, found.settings, strict=True)
    ]
    unbuilt = ['not built by this config, so not probed: plain'] * (len(settings) - len(blocks))
    notes = [*change_config(config, target), *([_LINEAR] if getattr(target.plain.arch, 'linear', False) else [])]
    notes += [f'{nothing} So all blocks have the same share of their plain widths.'] if nothing else []
    constants = ', '.join(f'{name} = {getattr(rule, name):g}' for name in _CONSTANTS)
    epoch = '' if record.last.epoch is None else f', epoch {record.last.epoch}'
    origin = (
        f'Settings by ss-backbones derive-settings from {probe.name} ({record.last.checkpoint}{epoch}) for a budget of '
        f"{arguments.budget:g} of the plain network's multiply-adds."
    )
    rules = (
        'The rule, with its reasons: ss_backbones/probing/rule.py; '
        f'{constants}, and c = {found.factor:.6g}. {_ATTENTION}'
    )
    costs = [f'For an image of {target.size[0]} x {target.size[1]} pixels:']
    plain = target.plain_cost
    for what, cost in (('plain', plain), ('derived', found.cost), ("the paper's SS", target.cost(target.paper))):
        costs.append(f"  {what:<15} {cost}, {cost.macs / plain.macs:.4f} of the plain network's multiply-adds")
    with new_file(out) as file:
        file.write(config_text(config, (origin, rules, *costs, *notes), settings, [*reasons, *unbuilt]).encode())

    print(origin, "In the table the paper's setting is in brackets.", '', sep='\n')
    print(_table([block.name for block in blocks], found.settings, target.paper.settings[: len(blocks)]), '', sep='\n')
    print(*reasons, _ATTENTION, '', *costs, *notes, f'Wrote {out}', sep='\n')


def _table(names: Sequence[str], derived: Sequence[BlockSetting], paper: Sequence[BlockSetting]) -> str:
    """One line a block, with the paper's value in brackets after each."""
    from ..settings import SPECIFIC

    def cell(value: float | str) -> str:
        return value if isinstance(value, str) else f'{value:.4g}'

    rows = [['block', *SPECIFIC]]
    for name, ours, theirs in zip(names, derived, paper, strict=True):
        rows.append([name, *(f'{cell(getattr(ours, key))} ({cell(getattr(theirs, key))})' for key in SPECIFIC)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join('  '.join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _parser(program: str) -> Parser:
    parser = Parser(
        program,
        "Derive settings for every block from a probe of a DFC network, print them beside the paper's with reasons,\n"
        'and write a config that trains the SS network with them.',
    )
    parser.add_argument('probe', metavar='PROBE.json', type=Path, help='what probe wrote')
    parser.add_argument(
        '--budget',
        metavar='SHARE',
        type=share_of_macs,
        required=True,
        help="share of the plain network's multiply-adds that may be used, above 0 and at most 1",
    )
    parser.add_argument(
        '--shape',
        type=pixels,
        nargs=2,
        metavar=('H', 'W'),
        help='pixels of the images that multiply-adds are counted for (default: those of the network, or 224 224)',
    )
    parser.add_argument(
        '--allow-uniform',
        action='store_true',
        help='where the probe shows no difference between the blocks, write one setting for all in place of nothing',
    )
    parser.add_argument('--out', metavar='CONFIG.py', type=Path, help='the new file (default: derived.py beside it)')
    parser.add_argument('--base', metavar='CONFIG', help='a config to change (default: that of the probed training)')
    return parser
