"""Whether networks compute on a device what they compute on the CPU, in every way that they are run in."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..deploy import fold
from ..networks.catalog import Preset
from ..networks.columnar import ColumnarNetwork

Maps = tuple[Tensor, ...]
_SIZE, _ODD = (96, 128), (37, 53)  # pixels
_LOSS_SCALE = 2.0**10  # as a GradScaler has one, or small gradients are lost in float16


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Args:
        check: What was compared.
        error: The relative error: of all numbers together, as the root of the sum of squares; None if it did not run.
        allowed: The largest that is right.
        problem: Why it did not run; '' if it did.
    """

    check: str
    error: float | None
    allowed: float
    problem: str = ''

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong."""
        return self.error is not None and self.error <= self.allowed

    def __str__(self) -> str:
        found = self.problem if self.error is None else f'{self.error:.1e} (at most {self.allowed:.0e})'
        return f'{self.check:42} {"ok" if self.is_right else "WRONG":6} {found}'


def check_device(preset: Preset, device: str, backend: str = 'inductor') -> Iterator[Finding]:
    """Compare a network on a device with itself on the CPU in float64; a check that fails does not stop the others.

    Args:
        preset: The network, of :data:`~ss_backbones.networks.catalog.PRESETS`.
        device: 'cpu' or 'cuda'.
        backend: Of torch.compile.
    """
    torch.manual_seed(0)
    options = {'pyramid': True} if issubclass(preset.network, ColumnarNetwork) else {}
    network = preset.build(drop_path_rate=0.0, **options).double().eval()
    _randomise(network)
    run = _Checks(network, device, backend, partial(preset.build, drop_path_rate=0.0, with_cp=True, **options))
    for check, allowed, measure in run.all():
        try:
            error, problem = measure(), ''
        except Exception as failure:  # of torch, a compiler or a driver: the others are to be run all the same
            line = next((line for line in str(failure).splitlines() if line.strip()), '')
            error, problem = None, f'{type(failure).__name__}: {line[:160]}'
        yield Finding(check, error, allowed, problem)


class _Checks:
    """The checks of one network."""

    def __init__(self, network: nn.Module, device: str, backend: str, with_cp: Callable[[], nn.Module]) -> None:
        self.network, self.device, self.backend, self.with_cp = network, device, backend, with_cp
        self.image = torch.randn(2, 3, *_SIZE, dtype=torch.float64)
        with torch.no_grad():
            self.maps: Maps = tuple(network(self.image))
        self.weights = [torch.randn_like(m) for m in self.maps]
        self.gradients = self.gradients_of(network)

    def all(self) -> Iterator[tuple[str, float, Callable[[], float]]]:
        """Each check: its name, the largest error that is right, and what measures it."""
        single, double = torch.float32, torch.float64
        yield 'maps, float64', 1e-10, lambda: self.maps_error(self.on_device(double))
        yield 'gradients, float64', 1e-9, lambda: self.gradients_error(self.on_device(double))
        yield 'maps, float32', 1e-5, lambda: self.maps_error(self.on_device(single))
        yield 'gradients, float32', 1e-4, lambda: self.gradients_error(self.on_device(single))
        for dtype, allowed, of_gradients in ((torch.bfloat16, 5e-2, 0.25), (torch.float16, 1e-2, 0.1)):
            name = str(dtype).removeprefix('torch.')
            yield f'maps, {name} autocast', allowed, partial(self.maps_error, self.on_device(single), dtype)
            # a max pooling that takes another of two like numbers sends the whole gradient elsewhere
            gradients = partial(self.gradients_error, self.on_device(single), dtype)
            yield f'gradients, {name} autocast', of_gradients, gradients
        yield 'maps of a channels-last image, float32', 1e-5, self.channels_last
        yield f'maps of {_ODD[0]} x {_ODD[1]} pixels, float64', 1e-10, self.odd_size
        yield 'maps of fold(), float64', 1e-10, lambda: self.maps_error(fold(self.on_device(double)))
        yield f'maps, torch.compile ({self.backend}), float32', 1e-5, self.compiled
        yield 'gradients with recomputing, float64', 1e-9, self.recomputed
        yield 'gradients with frozen stages, float64', 1e-9, self.frozen

    def on_device(self, dtype: torch.dtype) -> nn.Module:
        return copy.deepcopy(self.network).to(self.device, dtype)

    def run(self, network: nn.Module, image: Tensor, autocast: torch.dtype | None = None) -> Maps:
        dtype = next(network.parameters()).dtype
        with torch.autocast(self.device, autocast, enabled=autocast is not None):
            return tuple(network(image.to(self.device, dtype)))

    def maps_error(self, network: nn.Module, autocast: torch.dtype | None = None) -> float:
        with torch.no_grad():
            return _error(self.run(network, self.image, autocast), self.maps)

    def gradients_of(self, network: nn.Module, autocast: torch.dtype | None = None) -> dict[str, Tensor]:
        device = next(network.parameters()).device.type
        image = self.image.to(device, next(network.parameters()).dtype)
        with torch.autocast(device, autocast, enabled=autocast is not None):
            maps = network(image)
        loss = sum((m.double() * w.to(device)).mean() for m, w in zip(maps, self.weights, strict=True))
        names, wanted = zip(*((k, p) for k, p in network.named_parameters() if p.requires_grad), strict=True)
        found = torch.autograd.grad(_LOSS_SCALE * loss, wanted, allow_unused=True)
        return {key: value / _LOSS_SCALE for key, value in zip(names, found, strict=True) if value is not None}

    def gradients_error(self, network: nn.Module, autocast: torch.dtype | None = None) -> float:
        found = self.gradients_of(network, autocast)
        return _error([found[key] for key in self.gradients], list(self.gradients.values()))

    def channels_last(self) -> float:
        network = self.on_device(torch.float32).to(memory_format=torch.channels_last)
        with torch.no_grad():
            return _error(self.run(network, self.image.to(memory_format=torch.channels_last)), self.maps)

    def odd_size(self) -> float:
        image = torch.randn(1, 3, *_ODD, dtype=torch.float64)
        with torch.no_grad():
            return _error(self.run(self.on_device(torch.float64), image), tuple(self.network(image)))

    def compiled(self) -> float:
        network = self.on_device(torch.float32)
        network.compile(backend=self.backend)
        return self.maps_error(network)

    def recomputed(self) -> float:
        network = self.with_cp().to(self.device, torch.float64)
        network.load_state_dict(self.network.state_dict())
        return self.gradients_error(network.eval())  # as the other one, whose BatchNorm has its statistics

    def frozen(self) -> float:
        """Gradients of what is not frozen; everything frozen has none."""
        network = self.on_device(torch.float64)
        for part in network.freezable()[:2]:  # the stem and what comes first
            for thing in part:
                thing.requires_grad_(False)
        found = self.gradients_of(network)
        if not 0 < len(found) < len(self.gradients):
            raise ValueError(f'{len(found)} of {len(self.gradients)} parameters have gradients')
        return _error(list(found.values()), [self.gradients[key] for key in found])


@torch.no_grad()
def _randomise(network: nn.Module) -> None:
    """Norms and biases begin as ones and zeros, behind which mistakes hide."""
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter.add_(0.1 * torch.randn_like(parameter))


def _error(found: Maps | list[Tensor], expected: Maps | list[Tensor]) -> float:
    """The relative error of all numbers together.

    Raises:
        ValueError: A number is not finite, or a shape differs.
    """
    wrong = total = 0.0
    for a, b in zip(found, expected, strict=True):
        if a.shape != b.shape:
            raise ValueError(f'{tuple(a.shape)} in place of {tuple(b.shape)}')
        a = a.cpu().double()
        if not a.isfinite().all():
            raise ValueError('not all numbers are finite')
        wrong += (a - b).square().sum().item()
        total += b.square().sum().item()
    return (wrong / total) ** 0.5
