"""``swap``: a child config of a detector or a segmenter with a backbone of this package."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from ..errors import UsageError
from ..output_files import check_new, new_file
from .parsing import Parser

_DESCRIPTION = """Write a config that inherits from another, with a backbone of this package and what follows from it.

  ss-backbones swap mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py SSPVTv2 --arch b2 --weights ss_b2.pth
  ss-backbones swap mmseg::pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py SSViT -o mine.py"""


def main(argv: Sequence[str], program: str) -> None:
    """Swap as the command line says, and say what was changed.

    Raises:
        UserError: What the user can fix, or what cannot be.
    """
    arguments = _parser(program).parse_args(argv)
    name = arguments.config.rpartition('::')[2]
    suffix = '-'.join(filter(None, (arguments.backbone.rpartition('.')[2].lower(), arguments.arch)))
    out: Path = arguments.out or Path(f'{Path(name).stem}_{suffix}.py')
    if out.suffix != '.py':
        raise UsageError(f'{out} does not end in .py, and what is written is a config.')
    check_new(out)
    from .. import register

    register()
    from ..openmmlab.backbone_building import own_class
    from ..openmmlab.configs import LIBRARIES, library_of, read_config
    from ..openmmlab.swapping import child_config, plan_swap, verify

    module, _, kind = arguments.backbone.rpartition('.')
    if module:
        import_module(module)  # ModuleNotFoundError is told by whoever runs the commands
    cls = own_class({'type': f'ss_backbones.{kind}'})
    if cls is None:
        raise UsageError(
            f'{arguments.backbone} is no backbone of this package, such as SSPVTv2 and SSViT. One of another module '
            'is named with it: MODULE.NAME'
        )
    config = read_config(arguments.config, {})
    library = library_of(config)
    if library not in LIBRARIES:
        raise UsageError(f'{arguments.config} is no config of mmdetection or mmsegmentation.')
    backbone = {'type': cls.__name__}
    if arguments.arch:
        backbone['arch'] = arguments.arch
    backbone |= {'settings': arguments.settings, 'ramp': 'bias'}
    backbone['init_cfg'] = {'type': 'Pretrained', 'checkpoint': arguments.weights or ''}
    plan = plan_swap(config, arguments.config, library, backbone, keep_optimizer=arguments.keep_optimizer)
    if not arguments.weights:
        plan.notes.append(
            'init_cfg.checkpoint is still empty: give weights, or init_cfg=None to train from random ones.'
        )
    base = arguments.config
    if '::' not in base:
        base = os.path.relpath(Path(base).resolve(), out.parent.resolve())
        base = base if base.startswith('.') else f'./{base}'
    old = (config.get('custom_imports') or {}).get('imports') or []
    old = [old] if isinstance(old, str) else old
    own = ['ss_backbones', *([module] if module else [])]
    imports = [*(name for name in old if not name.startswith(('mmpretrain', 'mmcls'))), *own]
    given = f' --arch {arguments.arch}' if arguments.arch else ''
    origin = f'Made by: ss-backbones swap {arguments.config} {arguments.backbone}{given}'
    text = child_config(plan, base, origin, imports)
    with new_file(out) as file:
        file.write(text.encode())
    try:
        done = verify(read_config(str(out), {}), config, str(out), library)
    except BaseException:  # Ctrl-C too
        out.unlink()
        raise
    print(*plan.notes, f'{out}: {done}.', sep='\n')


def _parser(program: str) -> Parser:
    parser = Parser(program, _DESCRIPTION)
    parser.add_argument('config', metavar='CONFIG', help='a file, or LIBRARY::NAME for one of mmdet or mmseg')
    parser.add_argument('backbone', metavar='BACKBONE', help='SSPVTv2, SSViT, or MODULE.NAME of one elsewhere')
    parser.add_argument('--arch', help="of the backbone (default: the backbone's own)")
    parser.add_argument('--settings', choices=('specific', 'uniform'), default='specific', help='(default: specific)')
    parser.add_argument('--weights', metavar='FILE', help='what the backbone starts from')
    parser.add_argument('--keep-optimizer', action='store_true', help='leave the optimiser as it is')
    parser.add_argument('-o', '--out', type=Path, metavar='OUT.py', help='the new config (default: by both names)')
    return parser
