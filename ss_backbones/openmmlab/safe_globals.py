"""Let torch's safe loading (``weights_only``) read the checkpoints that mmengine writes.

mmengine stores its message hub in every checkpoint. That holds HistoryBuffers, numpy numbers and references to
HistoryBuffer's own statistics, which pickle as calls of ``getattr``. The check stays on: only these names are allowed,
and in place of ``getattr`` a function that answers for HistoryBuffer's statistics alone.
"""

from collections.abc import Callable
from pickle import UnpicklingError

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_STATISTICS = ('min', 'max', 'mean', 'current')


def history_statistic(owner: type, name: str) -> Callable[..., object]:
    """What ``getattr`` may do in a checkpoint: fetch a statistic of HistoryBuffer.

    Raises:
        UnpicklingError: Anything else is asked for.
    """
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise UnpicklingError(f'The checkpoint asks for attribute {name!r} of {owner!r}, which is not safe to load.')
    return getattr(HistoryBuffer, name)


def register() -> None:
    """Add the names to torch's safe globals; calling it again changes nothing."""
    kinds = (np.float64, np.float32, np.int64, np.int32, np.bool_)
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            (history_statistic, 'builtins.getattr'),
            np.ndarray,
            np.dtype,
            *(type(np.dtype(kind)) for kind in kinds),
            *_numpy_functions(),
        ]
    )


def _numpy_functions() -> list[tuple[Callable[..., object], str]]:
    # They moved between numpy 1 and 2, and a checkpoint names the place in the numpy that wrote it.
    module = np.core.multiarray if np.lib.NumpyVersion(np.__version__) < '2.0.0' else np._core.multiarray
    return [
        (getattr(module, name), f'{place}.{name}')
        for name in ('scalar', '_reconstruct')
        for place in ('numpy.core.multiarray', 'numpy._core.multiarray')
    ]
