"""The logic of tools/export.py."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..checkpoints.files import CheckpointError
from ..output_files import check_new, new_file
from ..deploy.onnx.errors import ExportError
from ..deploy.onnx.network import Chosen, choose
from ..deploy.onnx.sizes import as_text

_NEEDED = ('onnx', 'onnxscript', 'onnxruntime')


def main(argv: Sequence[str] | None = None) -> None:
    """Export as the command line says, and print what came of it.

    Raises:
        SystemExit: With code 2 after a message on stderr.
    """
    arguments = _parser().parse_args(argv)
    try:
        _export(arguments)
    except (CheckpointError, ExportError) as error:
        print(f'tools/export.py: {error}', file=sys.stderr)
        raise SystemExit(2) from None


def _export(arguments: argparse.Namespace) -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ExportError(f'{", ".join(missing)} cannot be found. Install it: pip install "ss-backbones[export]"')
    from ..deploy.onnx.check import TOLERANCE, greatest_difference
    from ..deploy.onnx.exporting import INPUT, check_opset, to_onnx
    from ..deploy.onnx.preparing import core_of, smallest_side

    out: Path = arguments.out
    if out.suffix != '.onnx':
        raise ExportError(f'The file is in ONNX, but {out} does not end in .onnx.')
    check_new(out)
    if arguments.opset is not None:
        check_opset(arguments.opset)
    chosen = choose(
        arguments.model,
        arguments.checkpoint,
        features=arguments.features,
        num_classes=arguments.num_classes,
        settings=arguments.settings,
        dynamic=arguments.dynamic,
    )
    network = core_of(chosen.model)
    batch, height, width = arguments.shape or (1, *getattr(network, 'img_size', (224, 224)))
    least = smallest_side(network) if arguments.dynamic else 1
    if min(height, width) < least:
        raise ExportError(
            f'With --dynamic this network takes images from {least} x {least} pixels up, not {height} x {width}.'
        )
    shapes = [(batch, height, width)] * 2
    if arguments.dynamic:
        odd = [max(least, side // 2 + 1 | 1) for side in (height, width)]
        shapes = [shapes[0], (batch + 1, *odd), (1, least, least)]
    shapes = [(size[0], network.in_channels, *size[1:]) for size in shapes]

    print(f'Exporting {chosen.what}', *chosen.notes, sep='\n')
    content = to_onnx(chosen.model, shapes[0], _output_names(chosen), dynamic=arguments.dynamic, opset=arguments.opset)
    difference = greatest_difference(content, chosen.model, shapes)
    with new_file(out) as file:
        file.write(content)
    sizes = ['batch', 'height', 'width'] if arguments.dynamic else list(map(str, (batch, height, width)))
    sizes.insert(1, str(network.in_channels))
    limit = f', height and width from {least} up' if arguments.dynamic else ''
    print(f'{out}: {len(content) / 2**20:.1f} MiB, input {INPUT!r} ({", ".join(sizes)}) in float32{limit}')
    checked = ', '.join(
        as_text(shape) + f' ({count} batches)' * (count > 1) for shape, count in Counter(shapes).items()
    )
    print(f'Checked against onnxruntime at {checked}: greatest difference {difference:.1e} (allowed {TOLERANCE:.0e})')


def _output_names(chosen: Chosen) -> list[str]:
    if not chosen.maps:
        return ['logits' if chosen.model.num_classes else 'features']
    return [f'map_{i}' for i in range(len(chosen.model.out_indices))]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='tools/export.py',
        description='Export a classifier (logits) or a backbone (maps) to ONNX, and check it against onnxruntime.',
        epilog="Of a detector's or segmenter's config the backbone alone is exported. The file wants images as "
        'the network gets them in training: normalised, in float32.',
    )
    parser.add_argument(
        'model', metavar='CONFIG_OR_MODEL', help='a config, or a timm name of this package such as ss_pvt_v2_b0'
    )
    parser.add_argument('out', metavar='OUT', type=Path, help='the new file, NAME.onnx')
    parser.add_argument('--checkpoint', metavar='FILE', help="its weights (default: the config's init_cfg, or random)")
    parser.add_argument(
        '--shape',
        metavar='BxHxW',
        type=_shape,
        help='images in a batch, height and width (default: 1x224x224, for a ViT its own size)',
    )
    parser.add_argument('--dynamic', action='store_true', help='any batch, height and width; --shape is an example')
    parser.add_argument('--features', action='store_true', help="maps of a classifier's network, as of features_only")
    parser.add_argument('--num-classes', metavar='N', type=int, help="a classifier's classes")
    parser.add_argument('--settings', choices=('specific', 'uniform'), help='for timm names')
    parser.add_argument('--opset', metavar='N', type=int, help="ONNX's version, 18 or newer (default: torch's choice)")
    return parser


def _shape(text: str) -> tuple[int, int, int]:
    try:
        batch, height, width = (int(number) for number in text.split('x'))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is no BxHxW such as 1x800x1344') from None
    if min(batch, height, width) < 1:
        raise argparse.ArgumentTypeError(f'{text!r}: all three must be at least 1')
    return batch, height, width
