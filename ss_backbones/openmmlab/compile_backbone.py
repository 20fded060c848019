"""torch.compile for the backbone of a detector, a segmenter or a classifier, and for nothing else."""

import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from ..errors import UsageError
from ..registry import HOOKS


@HOOKS.register_module()
class CompileBackboneHook(Hook):
    """Compiles ``model.backbone`` in trainings, validations and tests; mmengine's own ``compile`` takes the whole step.

    The module is compiled in place: parameters and checkpoints keep their names, a copy such as EMAHook's average is
    not compiled, and the config without the hook goes on from the checkpoints. Training and evaluation are compiled on
    their first batch each.

    Args:
        mode: One of inductor's, such as 'max-autotune-no-cudagraphs'; None for its default.
        dynamic: True compiles for images of any size at once, False for each size anew, up to torch's limit of 8. None
            compiles for the first size and, when another comes, for any size.
        backend: Any of ``torch.compiler.list_backends(())``.

    Raises:
        UsageError: There is no such mode or backend, or ``dynamic`` is something else.

    In a config: ``custom_hooks=[dict(type='ss_backbones.CompileBackboneHook')]``.
    """

    def __init__(self, mode: str | None = None, dynamic: bool | None = None, backend: str = 'inductor') -> None:
        self._name = type(self).__name__
        if dynamic is not None and not isinstance(dynamic, bool):
            raise UsageError(f'{self._name}: dynamic={dynamic!r} must be True, False or None.')
        if backend not in (backends := torch.compiler.list_backends(())):
            raise UsageError(
                f'{self._name}: no backend={backend!r} for torch.compile here. There are {", ".join(backends)}.'
            )
        if mode is not None and backend != 'inductor':
            raise UsageError(f'{self._name}: mode={mode!r} is for inductor; leave it out with backend={backend!r}.')
        self.mode, self.dynamic, self.backend = mode, dynamic, backend
        try:
            self._compile(nn.Identity())  # looks at the mode, and compiles at the first call alone
        except RuntimeError as error:
            raise UsageError(f'{self._name}: {error}.') from error
        self._compiled: nn.Module | None = None

    def before_run(self, runner: Runner) -> None:
        """Compile, unless an earlier run of this runner has done so.

        Raises:
            UsageError: The model has no backbone, the config compiles the whole step as well, or torch.compile does not
                work on this machine.
        """
        backbone = getattr(_unwrapped(runner.model), 'backbone', None)
        if not isinstance(backbone, nn.Module):
            raise UsageError(
                f'{self._name} compiles model.backbone, but {type(_unwrapped(runner.model)).__name__} has none. '
                "Leave the hook out, or take mmengine's compile=True, which compiles the whole step."
            )
        if runner.cfg.get('compile'):
            raise UsageError(
                f'compile={runner.cfg["compile"]!r} compiles the whole step, and {self._name} the backbone inside it. '
                'Leave one of them out.'
            )
        backbone = _unwrapped(backbone)
        if backbone is self._compiled:
            return
        self._try()
        self._compile(backbone)
        self._compiled = backbone
        runner.logger.info(
            f'{self._name}: {type(backbone).__name__} is compiled on the first batches, which take longer '
            f'(backend={self.backend!r}, mode={self.mode!r}, dynamic={self.dynamic!r}).'
        )

    def _compile(self, module: nn.Module) -> None:
        module.compile(backend=self.backend, mode=self.mode, dynamic=self.dynamic)

    def _try(self) -> None:
        """Compile something small: a missing compiler shows before the data are read, and in few words."""
        # a function: what stands in torch.nn by itself, such as nn.ReLU, is never compiled
        small = torch.compile(lambda x: torch.relu(x) + 1, backend=self.backend, mode=self.mode, dynamic=self.dynamic)
        try:
            small(torch.zeros(8, device=get_device()))
        except Exception as error:  # backends and the compilers that they call fail in many ways
            line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UsageError(
                f'{self._name}: torch.compile with backend={self.backend!r} does not work on this machine: {line} '
                'Install what is missing (inductor needs a C++ compiler on the CPU and Triton on a GPU), or leave the '
                'hook out.'
            ) from error


def _unwrapped(model: nn.Module) -> nn.Module:
    """What is inside a wrapper such as MMDistributedDataParallel."""
    return model.module if is_model_wrapper(model) else model
