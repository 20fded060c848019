"""``inherit``: weights for a network with its own settings out of a plain one's, from images and without training."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..errors import UsageError
from ..output_files import check_new, new_file
from .parsing import Parser, pixels, whole_number

_DESCRIPTION = """Make the weights of an SS network out of those of the plain one, from images and without training.

  ss-backbones inherit pvt_v2_b2.pth ss_pvt_v2_b2 ss_b2.pth --images data/imagenet/val
  ss-backbones inherit timm:pvt_v2_b0 CONFIG ss_b0.pth --count 256

OUT is a state dict for init_cfg, checkpoint_path, tools/pretrain.py or load_weights; a table of what every block leaves
over is printed, and drawn beside it (OUT with .png)."""


def main(argv: Sequence[str], program: str) -> None:
    """Inherit as the command line says.

    Raises:
        UserError: What the user can fix.
    """
    arguments = _parser(program).parse_args(argv)
    out: Path = arguments.out
    if out.suffix not in ('.pth', '.safetensors'):
        raise UsageError(f'{out} must end in .pth or .safetensors.')
    picture = out.with_suffix('.png') if find_spec('matplotlib') else None
    for file in filter(None, (out, picture)):
        check_new(file)
    import torch

    from .. import register

    if arguments.device == 'cuda' and not torch.cuda.is_available():
        raise UsageError('--device cuda: no CUDA device is available here; leave it out.')
    register()
    from ..checkpoints.activations import with_activations
    from ..checkpoints.writing import write_checkpoint, write_safetensors
    from ..compress.images import images_below
    from ..compress.models import find_model
    from ..compress.report import draw, print_report
    from ..compress.run import inherit
    from ..compress.sources import build_source, read_source
    from ..layers.mlp import activations_of

    model = find_model(arguments.model, arguments.img_size and tuple(arguments.img_size))
    if arguments.images is None and model.files is None:
        raise UsageError(f'{model.name} has no training data of its own. Give a folder of images: --images DIR')
    source, loaded = build_source(read_source(arguments.source), arguments.source, model)
    print(loaded)
    network, report = inherit(
        source,
        model,
        model.files() if arguments.images is None else images_below(arguments.images),
        count=arguments.count,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        device=arguments.device,
    )
    untrained = set(loaded.fresh)  # a pyramid, say: whoever loads the weights makes his own
    weights = {key: value.cpu().contiguous() for key, value in network.state_dict().items() if key not in untrained}
    weights = with_activations(weights, activations_of(network))
    if out.suffix == '.pth':
        write_checkpoint(weights, out)
    else:
        write_safetensors(weights, {'format': 'pt'}, out)
    print_report(report)
    print(f'{out}: {len(weights)} tensors')
    if picture is None:
        print('No picture: install matplotlib for one.')
        return
    with new_file(picture) as file:
        file.write(draw(report))
    print(picture)


def _parser(program: str) -> Parser:
    parser = Parser(program, _DESCRIPTION)
    parser.add_argument(
        'source', metavar='SOURCE', help='weights of the plain network: a file, an address, or timm:NAME (download)'
    )
    parser.add_argument(
        'model', metavar='MODEL', help='what gets weights: a timm name such as ss_pvt_v2_b0, or a config'
    )
    parser.add_argument('out', metavar='OUT', type=Path, help='the new file, .pth or .safetensors')
    parser.add_argument('--images', metavar='DIR', help="images in any folder tree (default: a config's training data)")
    parser.add_argument(
        '--img-size', nargs=2, type=pixels, metavar=('H', 'W'), help="pixels (default: as the model's evaluation)"
    )
    parser.add_argument('--count', type=whole_number, default=1024, help='how many images are taken (default: 1024)')
    parser.add_argument('--batch-size', type=whole_number, default=32, help='images at a time (default: 32)')
    parser.add_argument('--seed', type=int, default=0, help='which images are taken (default: 0)')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu', help='(default: cpu)')
    return parser
