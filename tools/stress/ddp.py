"""Train small networks of every family in two processes (DDP, gloo): gradients and the counters of batch norms must be
those of one process, whatever is frozen, checkpointed or accumulated, without a search for unused parameters.

Each process has images of its own. What DDP makes of them is the mean of the gradients that each process would have
alone, also where there are batch norms, which see the images of their process.
"""

import json
import multiprocessing
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path

import torch
from checkout import finish, parser
from small_networks import SIMPLEST, Small, outputs
from torch import distributed, nn

_PATIENCE = timedelta(seconds=120)
_STEPS = 2  # a parameter without a gradient stops DDP in the second one
_SIDE = 64
_NEAR = dict(rtol=1e-3, atol=1e-6)


def cases_of(make: Small) -> Iterator[dict[str, object]]:
    """What is combined: checkpointing, frozen parts of backbones, and accumulation."""
    frozen = [{}] if make.is_classifier else [{'frozen_stages': count} for count in (-1, 0, 2)]
    for part, with_cp, accumulated in product(frozen, (False, True), (1, 2)):
        yield {**part, 'with_cp': with_cp, 'accumulated': accumulated}


def loss_of(model: nn.Module, seed: int) -> torch.Tensor:
    """Of two random images."""
    images = torch.randn(2, 3, _SIDE, _SIDE, generator=torch.Generator().manual_seed(seed))
    return sum(out.square().mean() for out in outputs(model, images))


def problem(make: Small, case: dict[str, object], seed: int) -> str:
    """What is wrong with the steps of this process, among others that call it too, or nothing."""
    options = {key: value for key, value in case.items() if key != 'accumulated'}
    rank, world = distributed.get_rank(), distributed.get_world_size()
    torch.manual_seed(seed)
    network = make(**options).train()
    if make.is_classifier:
        network.set_grad_checkpointing(case['with_cp'])
    plain = [make(**{**options, 'with_cp': False}).train() for _ in range(world)]
    for other in plain:
        other.load_state_dict(network.state_dict())
    model = nn.parallel.DistributedDataParallel(network, broadcast_buffers=False, find_unused_parameters=False)
    for step in range(_STEPS):
        seeds = [[seed + 100 * step + 10 * part + who for part in range(case['accumulated'])] for who in range(world)]
        model.zero_grad()
        for part in seeds[rank][:-1]:
            with model.no_sync():
                loss_of(model, part).backward()
        loss_of(model, seeds[rank][-1]).backward()
        for other, parts in zip(plain, seeds, strict=True):
            other.zero_grad()
            for part in parts:
                loss_of(other, part).backward()
        if found := _difference(network, plain, rank):
            return f'step {step + 1}: {found}'
    return ''


def _difference(network: nn.Module, plain: list[nn.Module], rank: int) -> str:
    others = [dict(other.named_parameters()) for other in plain]
    for name, parameter in network.named_parameters():
        gradients = [other[name].grad for other in others]
        if any(gradient is None for gradient in gradients):  # frozen, or not used, at which DDP itself will stop
            continue
        mean = sum(gradients) / len(gradients)
        if parameter.grad is None or not torch.allclose(parameter.grad, mean, **_NEAR):
            return f'the gradient of {name} is another one'
    buffers = dict(plain[rank].named_buffers())
    for name, value in network.named_buffers():
        if not torch.allclose(value.float(), buffers[name].float(), **_NEAR):
            return f'{name} is another one'
    return ''


def work(rank: int, world: int, place: str, match: str, seed: int) -> None:
    """All cases in one of the processes; its findings go to a file, each in a line of JSON."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{place}/meet', rank=rank, world_size=world, timeout=_PATIENCE
    )
    with Path(place, f'{rank}.jsonl').open('w', encoding='utf-8') as file:
        for make in SIMPLEST:
            for case in cases_of(make) if re.search(match, str(make)) else ():
                try:
                    found = problem(make, case, seed)
                except Exception as error:  # any is a finding
                    found = f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
                print(json.dumps([str(make), str(case), found]), file=file, flush=True)
    distributed.destroy_process_group()


def read(place: str, world: int) -> tuple[dict[str, Counter], list[str]]:
    """How many cases were right in all processes, by network, and what was wrong."""
    lines = [Path(place, f'{rank}.jsonl').read_text(encoding='utf-8').splitlines() for rank in range(world)]
    counts: dict[str, Counter] = {}
    wrong = [] if len({len(each) for each in lines}) == 1 else ['not all processes came to the end']
    for rows in zip(*lines, strict=False):
        name, case, _ = json.loads(rows[0])
        found = next((text for row in rows if (text := json.loads(row)[2])), '')
        counts.setdefault(name, Counter())['WRONG' if found else 'right'] += 1
        if found:
            wrong.append(f'{name}, {case}: {found}')
    return counts, wrong or ([] if counts else ['nothing was run'])


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument('--processes', type=int, default=2, help='so many (2)')
    arguments.add_argument('--match', default='', help='only networks whose names match this regular expression')
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        context = multiprocessing.get_context('spawn')
        ranks = [
            context.Process(target=work, args=(rank, given.processes, place, given.match, given.seed))
            for rank in range(given.processes)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
        return finish('network', ('right', 'WRONG'), *read(place, given.processes))


if __name__ == '__main__':
    sys.exit(main())
