"""Turns a checkpoint of any known layout into one of another, and says which network it is of.

python tools/convert.py checkpoint.pth timm.pth --to timm
python tools/convert.py work_dirs/NAME/epoch_300.pth weights.pth --to openmmlab --ema
python tools/convert.py checkpoint.pth weights.safetensors --to official --safetensors
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package works from here uninstalled too

from ..checkpoints.files import CheckpointError
from ..checkpoints.conversion import LAYOUTS, convert


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='.pth, .pt or .safetensors, or its http(s) address')
    parser.add_argument('out', metavar='OUT', help='the new file')
    parser.add_argument(
        '--to',
        choices=tuple(LAYOUTS),
        required=True,
        help="timm: a flat state dict; official: one under 'model'; openmmlab: keys under 'backbone.', in 'state_dict'",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        '--ema', action='store_const', const=True, dest='average', help='the averaged weights, or an error'
    )
    which.add_argument(
        '--raw', action='store_const', const=False, dest='average', help='the raw weights, where there is an average'
    )
    parser.add_argument('--safetensors', action='store_true', help='write the tensors alone, as .safetensors')
    arguments = parser.parse_args()
    try:
        report = convert(
            arguments.checkpoint,
            arguments.out,
            arguments.to,
            average=arguments.average,
            safetensors=arguments.safetensors,
        )
    except CheckpointError as error:
        print(f'tools/convert.py: {error}', file=sys.stderr)
        raise SystemExit(2) from None
    print(report)


if __name__ == '__main__':
    main()
