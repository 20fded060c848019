"""Checks of the machine: the GPU, bfloat16, attention, memory that processes share."""

import os
import shutil
from pathlib import Path

from .findings import Check, Level, Problem

_SHARED = 2**30  # bytes


def machine_checks() -> list[Check]:
    """Those of what the networks run on."""
    return [
        Check('gpu', gpu),
        Check('bfloat16', bfloat16),
        Check('attention', attention),
        Check('shared memory', shared_memory),
    ]


def gpu() -> str:
    """Torch sees it, has code for it, and multiplies right on it."""
    import torch

    if not torch.cuda.is_available():
        if shutil.which('nvidia-smi') is None:
            return 'none'
        if torch.version.cuda is None:
            raise Problem('there is an NVIDIA driver, but torch is without CUDA', _CUDA, Level.WARNING)
        raise Problem(
            f'torch has CUDA {torch.version.cuda}, and sees no GPU',
            'See nvidia-smi and CUDA_VISIBLE_DEVICES; an older driver needs a torch for an older CUDA.',
            Level.WARNING,
        )
    known, names = torch.cuda.get_arch_list(), []
    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        names.append(f'{torch.cuda.get_device_name(index)} (sm_{major}{minor})')
        # code for a smaller minor number runs too
        if not any(arch.startswith(f'sm_{major}') and arch[len(f'sm_{major}') :] <= str(minor) for arch in known):
            raise Problem(f'{names[-1]}: torch has code for {", ".join(known)} only', _CUDA)
        square = torch.eye(64, device=f'cuda:{index}') * 3
        if (square @ square).diagonal().tolist() != [9.0] * 64:
            raise Problem(f'{names[-1]}: a matrix product is wrong', 'See the machine: ss-backbones check-device')
    return ', '.join(names)


def bfloat16() -> str:
    """A product in it is right within its 8 bits."""
    import torch

    said, wrong = [], []
    for place in _places():
        x = torch.linspace(-1, 1, 64, device=place).reshape(8, 8)
        near = torch.allclose((x.bfloat16() @ x.bfloat16()).float(), x @ x, atol=0.05)
        (said if near else wrong).append(place)
    if wrong:
        raise Problem(f'wrong on {" and ".join(wrong)}', 'Leave bf16=True out of the config.')
    if 'cuda' in said and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise Problem('the GPU has none of its own: slow', 'Leave bf16=True out of the config.', Level.WARNING)
    return f'works on {" and ".join(said)}'


def attention() -> str:
    """Which of the ways that torch has for scaled_dot_product_attention work here."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    said = []
    for place in _places():
        dtype = torch.bfloat16 if place == 'cuda' else torch.float32
        q = torch.randn(1, 2, 16, 32, device=place, dtype=dtype)
        works = []
        for name, backend in SDPBackend.__members__.items():
            if name in ('ERROR', 'OVERRIDEABLE'):
                continue
            try:
                with sdpa_kernel(backend):
                    scaled_dot_product_attention(q, q, q)
            except RuntimeError:  # it is not there for this device
                continue
            works.append(name.lower().removesuffix('_attention'))
        if not works:
            raise Problem(f'none of the ways to compute attention works on {place}', 'Install torch again.')
        said.append(f'{place}: {", ".join(works)}')
    return '; '.join(said)


def shared_memory() -> str:
    """What workers hand batches over in."""
    place = Path('/dev/shm')
    if not place.is_dir():
        return 'there is no /dev/shm'
    stat = os.statvfs(place)
    free = stat.f_bavail * stat.f_frsize
    text = f'{free / 2**30:.1f} GiB free'
    if free < _SHARED:
        raise Problem(
            f'{text}: workers that read images may end with a bus error',
            'Start the container with --shm-size=8g, or train with --cfg-options train_dataloader.num_workers=0 '
            'train_dataloader.persistent_workers=False',
            Level.WARNING,
        )
    return text


_CUDA = 'Install a torch for the CUDA and the GPU of this machine, then compile mmcv against it.'


def _places() -> list[str]:
    import torch

    return ['cpu'] + ['cuda'] * torch.cuda.is_available()
