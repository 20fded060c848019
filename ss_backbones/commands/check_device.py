"""Checks that networks compute on a device what they compute on the CPU."""

import time
from collections.abc import Sequence

from ..errors import UsageError
from .parsing import Parser

_DESCRIPTION = """Compare networks on a device with themselves on the CPU in float64: maps and gradients, in float64,
float32, bfloat16 and float16, channels last, at odd sizes, folded, compiled, with recomputing, and with frozen stages.

  ss-backbones check-device --device cuda"""


def main(argv: Sequence[str], program: str) -> int:
    """0, or 1 if something is wrong.

    Raises:
        UserError: What the user can fix.
    """
    parser = Parser(program, _DESCRIPTION)
    parser.add_argument('--models', nargs='+', metavar='NAME', help='(default: one of each kind)')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cuda', help='(default: cuda)')
    parser.add_argument(
        '--quick', action='store_true', help="without torch.compile's own compiler, which takes a minute a network"
    )
    arguments = parser.parse_args(argv)

    import torch

    from ..benchmark.candidates import own_networks
    from ..benchmark.device_check import check_device
    from ..benchmark.machine import machine_name
    from ..benchmark.plan import Plan
    from ..networks.catalog import one_of_each

    own = own_networks()
    names = arguments.models or list(one_of_each())
    for name in names:
        if name not in own:
            raise UsageError(f'there is no network {name!r}. There are {", ".join(own)}.')
    Plan(device=arguments.device)  # says what is to be said of the device
    # or a GPU's convolutions would have 10 bits of what float32 has
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    print(f'{machine_name(arguments.device)}, torch {torch.__version__}')
    wrong = 0
    for name in names:
        start = time.perf_counter()
        print(f'\n{name}', flush=True)
        for finding in check_device(own[name], arguments.device, 'aot_eager' if arguments.quick else 'inductor'):
            print(f'  {finding}', flush=True)
            wrong += not finding.is_right
        print(f'  {time.perf_counter() - start:.0f} s', flush=True)
    print(f'\n{wrong} checks are wrong.' if wrong else '\nAll is right.')
    return int(wrong > 0)
