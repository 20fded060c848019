"""Run small networks of every family in half precision (autocast, on a CPU): what they give must be finite and near
what they give in float32, and a training step must give every parameter a finite gradient.

Each has random weights, scales and shifts, and random images of several sizes. Not of 32 pixels: on CPUs with
instructions for bfloat16 torch 2.11 gives wrong numbers for a convolution whose kernel is as large as the map, 4 x 4 or
8 x 8, in channels-last memory, as SS-PVTv2 has it there.
"""

import random
import re
import sys
from collections import Counter

import torch
from checkout import finish, parser
from small_networks import BACKBONES, CLASSIFIERS, Small, noisy, outputs, without_gradient

# Of the largest relative errors (2-norm) of the outputs: so many roundings of 2^-8 and 2^-11 add up.
NEAR = {torch.bfloat16: 0.05, torch.float16: 0.0065}


def problem(network: torch.nn.Module, images: torch.Tensor, dtype: torch.dtype) -> tuple[str, float]:
    """What is wrong, or nothing; and the largest relative error of an output."""
    network.eval()
    with torch.no_grad():
        exact = outputs(network, images)
    worst = 0.0
    with torch.no_grad(), torch.autocast('cpu', dtype):
        half = outputs(network, images)
    for index, (out, true) in enumerate(zip(half, exact, strict=True)):
        if not out.isfinite().all():
            return f'output {index} is not finite', worst
        worst = max(worst, ((out.float() - true).norm() / true.norm()).item())
    if worst > NEAR[dtype]:
        return f'an output is {worst:.2g} away', worst
    network.train().zero_grad()
    with torch.autocast('cpu', dtype):
        loss = sum(out.float().square().mean() for out in outputs(network, images))
    loss.backward()
    if not loss.isfinite():
        return 'the loss is not finite', worst
    if lost := without_gradient(network):
        return f'{len(lost)} parameters get no finite gradient, such as {lost[0]}', worst
    return '', worst


def run(makes: list[Small], count: int, seed: int) -> tuple[dict[str, Counter], list[str], dict[torch.dtype, float]]:
    """How many images were right, by network and type, what was wrong, and the largest error of each type."""
    counts, wrong, worst = {}, [], dict.fromkeys(NEAR, 0.0)
    for make in makes:
        for dtype in NEAR:
            name = f'{make}, {str(dtype).removeprefix("torch.")}'
            counts[name] = Counter()
            for case in range(count):
                chance = random.Random(f'{seed} {make} {case}')
                torch.manual_seed(chance.randrange(2**31))
                side = 64 if make.is_classifier else chance.choice((50, 64, 77))
                try:
                    found, error = problem(noisy(make()), torch.randn(2, 3, side, side), dtype)
                    worst[dtype] = max(worst[dtype], error)
                except Exception as error:  # any is a finding
                    found = f'{type(error).__name__}: {str(error)[:200]}'
                counts[name]['WRONG' if found else 'right'] += 1
                if found:
                    wrong.append(f'{name}, case {case}, {side} pixels: {found}')
    return counts, wrong, worst


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument('--count', type=int, default=4, help='weights and images for each (4)')
    arguments.add_argument('--match', default='', help='only networks whose names match this regular expression')
    given = arguments.parse_args()
    makes = [make for make in (*BACKBONES, *CLASSIFIERS) if re.search(given.match, str(make))]
    counts, wrong, worst = run(makes, given.count, given.seed)
    print(*(f'largest relative error in {dtype}: {error:.2g}' for dtype, error in worst.items()), sep='\n')
    return finish('network, type', ('right', 'WRONG'), counts, wrong)


if __name__ == '__main__':
    sys.exit(main())
