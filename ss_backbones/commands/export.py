"""Writes a network as an ONNX file that onnxruntime was asked about first."""

from __future__ import annotations

import argparse
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..environment import how_to_install
from ..errors import ExportError, UsageError
from ..output_files import check_new, new_file
from .parsing import Parser

if TYPE_CHECKING:
    from ..deploy.onnx.network import Chosen
    from ..deploy.onnx.sizes import ImageSize
    from ..networks import Network

_NEEDED = ('onnx', 'onnxscript', 'onnxruntime')
_DESCRIPTION = """Export a classifier (logits) or a backbone (maps) to ONNX, and check it against onnxruntime.

  ss-backbones export ss_pvt_v2_b0 b0.onnx --checkpoint WEIGHTS.pth --dynamic
  ss-backbones export CONFIG maps.onnx --checkpoint epoch_12.pth"""


def main(argv: list[str], program: str) -> None:
    """Export as the command line says, and print what came of it.

    Raises:
        UserError: What the user can fix.
    """
    arguments = _parser(program).parse_args(argv)
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        advice = how_to_install(command=('export', *argv), how='with: pip install "ss-backbones[export]"')
        raise UsageError(f'{", ".join(missing)} cannot be found. {advice}')
    out: Path = arguments.out
    if out.suffix != '.onnx':
        raise UsageError(f'The file is in ONNX, but {out} does not end in .onnx.')
    check_new(out)
    from .. import register

    register()
    from ..deploy.onnx.check import TOLERANCE, greatest_difference
    from ..deploy.onnx.exporting import INPUT, check_opset, to_onnx
    from ..deploy.onnx.network import choose
    from ..deploy.onnx.sizes import as_text
    from ..networks import network_in

    if arguments.opset is not None:
        check_opset(arguments.opset)
    dynamic: bool = arguments.dynamic
    chosen = choose(
        arguments.model,
        arguments.checkpoint,
        features=arguments.features,
        num_classes=arguments.num_classes,
        settings=arguments.settings,
        dynamic=dynamic,
    )
    network = network_in(chosen.model)
    size = chosen.size or _size_of(network)
    batch, height, width = arguments.shape or (1, size.height, size.width)
    least = network.smallest_dynamic_side() if dynamic else 1
    if min(height, width) < least:
        raise ExportError(
            f'With --dynamic this network takes images from {least} x {least} pixels up, not {height} x {width}.'
        )
    shapes = [(batch, height, width)] * 2
    if dynamic:
        odd = [max(least, side // 2 + 1 | 1) for side in (height, width)]
        shapes = [shapes[0], (batch + 1, *odd), (1, least, least)]
    shapes = [(shape[0], network.in_channels, *shape[1:]) for shape in shapes]

    print(f'Exporting {chosen.what}', *chosen.notes, sep='\n')
    if not arguments.shape:
        print(f'Images of {height} x {width} pixels: {size.reason}. --shape 1xHxW takes another size.')
    content = to_onnx(chosen.model, shapes[0], _output_names(chosen), dynamic=dynamic, opset=arguments.opset)
    difference = greatest_difference(content, chosen.model, shapes)
    with new_file(out) as file:
        file.write(content)
    axes = ['batch', 'height', 'width'] if dynamic else list(map(str, (batch, height, width)))
    axes.insert(1, str(network.in_channels))
    limit = f', height and width from {least} up' if dynamic else ''
    print(f'{out}: {len(content) / 2**20:.1f} MiB, input {INPUT!r} ({", ".join(axes)}) in float32{limit}')
    checked = ', '.join(
        as_text(shape) + f' ({count} batches)' * (count > 1) for shape, count in Counter(shapes).items()
    )
    print(f'Checked against onnxruntime at {checked}: greatest difference {difference:.1e} (allowed {TOLERANCE:.0e})')


def _size_of(network: Network) -> ImageSize:
    """Where no config says which images the network gets."""
    from ..deploy.onnx.sizes import ImageSize

    if own := getattr(network, 'img_size', None):
        return ImageSize(*own, 'those that its position table is for')
    return ImageSize(224, 224, 'nothing says which it will get')


def _output_names(chosen: Chosen) -> list[str]:
    if not chosen.maps:
        return ['logits' if chosen.model.num_classes else 'features']
    return [f'map_{i}' for i in range(len(chosen.model.out_indices))]


def _parser(program: str) -> Parser:
    parser = Parser(
        program,
        _DESCRIPTION,
        epilog="Of a detector's or segmenter's config the backbone alone is exported. The file wants images as\n"
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
        help="images in a batch, height and width (default: one image of the size of the config's test; of a timm name "
        '224x224, for a ViT its own)',
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
