"""``search``: a cheaper network out of a trained one, by gates between attention, convolutions and nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..output_files import check_new, new_file
from .parsing import (
    Parser,
    above_zero,
    add_training_options,
    classifier_parser,
    config_options,
    pixels,
    share_of_macs,
    train_classifier,
)

if TYPE_CHECKING:
    from argparse import Namespace

_DESCRIPTION = """Search a cheaper network in a trained one: by block attention, a convolution or nothing, and widths.

  ss-backbones search CONFIG --checkpoint DENSE.pth --budget 0.7
  ss-backbones search CONFIG --checkpoint DENSE.pth --budget 0.7 --macs-shape 800 1344

CONFIG trains a classifier, a detector or a segmenter with a ViT or Swin of this package, and says how long the search
takes. The work dir gets found.json (the settings), found.pth (the pruned weights), found.py (a config that trains the
network) and found.png (how the gates moved)."""
_RUNNER = 'ss_backbones.SearchRunner'
_CONFIG, _PICTURE = 'found.py', 'found.png'


def main(argv: Sequence[str], program: str) -> None:
    """Search as the command line says.

    Raises:
        UserError: What the user can fix.
        SystemExit: With code 75 after a checkpoint, where a signal asked for it.
    """
    arguments = _parser(program).parse_args(argv)
    from .. import register

    register()
    from ..openmmlab.configs import read_config

    config = read_config(arguments.config, config_options(arguments.cfg_options))
    kind = (config.get('model') or {}).get('type', '')
    is_classifier = getattr(kind, '__name__', str(kind)).rpartition('.')[2] == 'ImageClassifier'
    arguments.work_dir = arguments.work_dir or f'work_dirs/search_{Path(arguments.config.rpartition("::")[2]).stem}'
    plan = _plan(arguments, config.get('search') or {})
    if not arguments.dry_run:
        for name in (_CONFIG, _PICTURE):
            if Path(arguments.work_dir).is_dir():
                check_new(Path(arguments.work_dir) / name)
    if is_classifier:
        is_main = train_classifier(arguments, {'search': plan, 'runner_type': _RUNNER})
    else:
        is_main = _search_with_library(arguments, plan, program)
    if is_main and not arguments.dry_run:
        _finish(arguments)


def _plan(arguments: Namespace, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the command line, or else the config, asks for; checked before anything is built."""
    from ..compress.search_plan import SearchPlan

    words = {
        'budget': arguments.budget,
        'checkpoint': arguments.checkpoint,
        'shape': arguments.macs_shape and tuple(arguments.macs_shape),
        'weight': arguments.weight,
        'lr': arguments.gate_lr,
    }
    plan = {**given, **{key: value for key, value in words.items() if value is not None}}
    SearchPlan.of({'search': plan})
    return plan


def _search_with_library(arguments: Namespace, plan: dict[str, Any], program: str) -> bool:
    """Search with the library of a detector or segmenter; whether this is the process that writes."""
    from mmengine.dist import is_main_process

    from .library_script import run_script

    for option in ('data_root', 'dataset', 'amp', 'no_validate'):
        if getattr(arguments, option):
            raise UsageError(
                f'--{option.replace("_", "-")} is for the config of a classifier; with a detector or segmenter set it '
                'in the config, or with --cfg-options.'
            )
    pairs = [f'runner_type={_RUNNER}']
    for key, value in plan.items():
        text = ','.join(map(str, value)) if isinstance(value, list | tuple) else value
        pairs.append(f'search.{key}={text}')
    argv = [arguments.config, '--work-dir', arguments.work_dir, '--launcher', arguments.launcher]
    argv += ['--resume'] * arguments.resume + ['--dry-run'] * arguments.dry_run
    run_script('train', [*argv, '--cfg-options', *arguments.cfg_options, *pairs], program)
    return is_main_process()


def _finish(arguments: Namespace) -> None:
    """Write the config and the picture, and print what was found."""
    from ..compress.search_end import describe, draw, read_found, settings_of
    from ..compress.searching import WEIGHTS
    from ..openmmlab.configs import read_config
    from ..probing.derived_config import OF_THE_RUN, WEIGHT_KEYS, config_text

    folder = Path(arguments.work_dir)
    found = read_found(arguments.work_dir)
    settings = settings_of(found)
    config = read_config(arguments.config, config_options(arguments.cfg_options), custom_imports=True)
    for key in (*OF_THE_RUN, 'search', 'runner_type'):
        config.pop(key, None)
    for part in (config.model, config.model.backbone):
        for key in WEIGHT_KEYS:
            part.pop(key, None)
    for key in ('settings', 'ramp', 'mlp'):
        config.model.backbone.pop(key, None)
    if getattr(arguments, 'data_root', None):
        for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            if config.get(name):
                config[name].dataset.data_root = arguments.data_root
    config.load_from = str(folder / WEIGHTS)
    header = (
        f'Found by ss-backbones search in {arguments.config} for a budget of {found["budget"]:g} of the dense '
        f"network's multiply-adds: {found['macs'] / 1e9:.4g} of {found['dense_macs'] / 1e9:.4g} G.",
        'It starts from the pruned weights (load_from). Source: SPViT (TPAMI 2024).',
    )
    reasons = [f'block {i}' + ('' if i < len(found['mixers']) else ', not built') for i in range(len(settings))]
    with new_file(folder / _CONFIG) as file:
        file.write(config_text(config, header, settings, reasons).encode())
    print(describe(found))
    print(f'Wrote {folder / _CONFIG}')
    if not find_spec('matplotlib'):
        print('No picture: install matplotlib for one.')
        return
    with new_file(folder / _PICTURE) as file:
        file.write(draw(found))
    print(f'Wrote {folder / _PICTURE}')


def _parser(program: str) -> Parser:
    config = 'of a classifier, a detector or a segmenter'
    parser = classifier_parser(program, _DESCRIPTION, config=config, work_dir='work_dirs/search_CONFIG')
    parser.add_argument('--checkpoint', metavar='FILE', help="the dense network's trained weights, in any layout")
    parser.add_argument('--budget', metavar='SHARE', type=share_of_macs, help="of the dense network's multiply-adds")
    parser.add_argument(
        '--macs-shape',
        type=pixels,
        nargs=2,
        metavar=('H', 'W'),
        help="pixels of the images (default: the network's)",
    )
    parser.add_argument('--weight', type=above_zero, help="of the cost's loss (default: by the network's cost)")
    parser.add_argument('--gate-lr', type=above_zero, help='learning rate of the gates (default: 0.001)')
    add_training_options(parser)
    return parser
