"""Does an ONNX file compute what the network computes?"""

from collections.abc import Sequence

import numpy as np
import onnxruntime
import torch
from torch import nn

from ...errors import ExportError
from .sizes import as_text, check_memory

TOLERANCE = 1e-4
_ERRORS_ONLY = 4  # of onnxruntime's levels of logging, fatal ones: the others are raised and said here


def greatest_difference(content: bytes, model: nn.Module, shapes: Sequence[Sequence[int]]) -> float:
    """Run both on random images of each shape (B, C, H, W).

    Returns:
        The greatest difference of an output, as a share of its largest value where that is above 1.

    Raises:
        ExportError: The images are too large for the memory, the network gives numbers that are not finite, onnxruntime
            cannot run the file, or a difference is above 1e-4.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    generator = torch.Generator().manual_seed(0)
    greatest = 0.0
    try:
        session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    except Exception as error:  # onnxruntime has a kind for every fault, with no base but Exception
        raise ExportError(f'onnxruntime cannot load what was exported: {str(error)[:300]}') from error
    name = session.get_inputs()[0].name
    for shape in shapes:
        size = as_text(shape)
        check_memory(shape)
        with torch.inference_mode():
            images = torch.randn(*shape, generator=generator)
            expected = model(images)
        expected = [expected] if isinstance(expected, torch.Tensor) else list(expected)
        for index, ours in enumerate(expected):
            if not ours.isfinite().all():
                raise ExportError(
                    f'The network itself, before any export, gives NaN or infinite numbers with these weights (output '
                    f'{index} at {size}). Were they saved from a training that diverged?'
                )
        try:
            found = session.run(None, {name: images.numpy()})
        except Exception as error:
            raise ExportError(f'onnxruntime cannot run what was exported at {size}: {str(error)[:300]}') from error
        for index, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
            if tuple(ours.shape) != theirs.shape:
                raise ExportError(
                    f'Output {index} at {size} is {as_text(theirs.shape)}, and the network gives {as_text(ours.shape)}.'
                )
            largest = max(1.0, ours.abs().max().item())
            difference = float(np.abs(ours.numpy() - theirs).max()) / largest
            if not difference <= TOLERANCE:  # so that a NaN fails too
                raise ExportError(
                    f'Output {index} at {size} differs from the network by {difference:.1e}, more than {TOLERANCE:.0e}.'
                )
            greatest = max(greatest, difference)
    return greatest
