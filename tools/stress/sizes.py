"""Run small networks of every family on images of all sizes: maps must have the promised shapes, be finite, and not
depend on the other images of a batch.
"""

import re
import sys
from collections import Counter
from itertools import product

import torch
from checkout import finish, parser
from small_networks import BACKBONES, Small


def problem(network: torch.nn.Module, images: torch.Tensor) -> str:
    """What is wrong with the maps of two images, or nothing."""
    maps, alone = network(images), network(images[1:])
    for index, (out, single) in enumerate(zip(maps, alone, strict=True)):
        sides = [-(-side // network.strides[index]) for side in images.shape[2:]]
        if list(out.shape) != [2, network.channels[index], *sides]:
            return f'map {index} is {tuple(out.shape)}'
        if not out.isfinite().all():
            return f'map {index} is not finite'
        if not torch.allclose(out[1:], single, rtol=1e-4, atol=1e-5):
            return f'map {index} depends on the other image, by {(out[1:] - single).abs().max():.2g}'
    return ''


def run(makes: list[Small], most: int, seed: int) -> tuple[dict[str, Counter], list[str]]:
    """How many sizes were right, by network, and what was wrong."""
    torch.manual_seed(seed)
    counts, wrong = {str(make): Counter() for make in makes}, []
    for make in makes:
        network = make().eval()
        for size in product(range(1, most + 1), repeat=2):
            try:
                with torch.no_grad():
                    found = problem(network, torch.randn(2, 3, *size))
            except Exception as error:  # any is a finding
                found = f'{type(error).__name__}: {str(error)[:200]}'
            counts[str(make)]['WRONG' if found else 'right'] += 1
            if found:
                wrong.append(f'{make} at {size[0]} x {size[1]}: {found}')
    return counts, wrong


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument('--most', type=int, default=40, help='heights and widths from 1 to this (40)')
    arguments.add_argument('--match', default='', help='only networks whose names match this regular expression')
    given = arguments.parse_args()
    makes = [make for make in BACKBONES if re.search(given.match, str(make))]
    return finish('network', ('right', 'WRONG'), *run(makes, given.most, given.seed))


if __name__ == '__main__':
    sys.exit(main())
