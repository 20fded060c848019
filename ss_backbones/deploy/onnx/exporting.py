"""From a network to an ONNX file's bytes."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from onnx import ModelProto
from onnx.defs import onnx_opset_version
from torch import nn
from torch.onnx import OnnxExporterError

from ...errors import ExportError
from .dynamic_sizes import check_dynamic
from .sizes import check_memory
from .translations import TRANSLATIONS

INPUT = 'image'
_LOWEST_OPSET = 18  # what torch's exporter writes; it would only try to turn its nodes into older ones
_LARGEST = 2**31 - 2**24  # bytes of weights in one file: protobuf's limit, less what the graph needs


def check_opset(opset: int) -> None:
    """Whether there is such a version for the exporter to write, as far as is known before the work.

    Raises:
        ExportError: There is not.
    """
    if opset < _LOWEST_OPSET:
        raise ExportError(f'--opset {opset}: torch exports {_LOWEST_OPSET} and newer.')
    if opset > onnx_opset_version():
        raise ExportError(
            f'--opset {opset}: the newest that the installed onnx knows is {onnx_opset_version()}. Leave it out, or '
            f'take one from {_LOWEST_OPSET} on.'
        )


def to_onnx(model: nn.Module, shape: Sequence[int], names: Sequence[str], *, dynamic: bool, opset: int | None) -> bytes:
    """Export a network in evaluation mode by torch.export.

    Args:
        model: It takes images (B, C, H, W); it is left as it is.
        shape: Their shape, an example where it is ``dynamic``.
        names: Of the outputs.
        dynamic: Leave batch, height and width open.
        opset: ONNX's version; None for torch's choice.

    Raises:
        ExportError: The network is too large for one file, the images for the memory, or it cannot be exported.
    """
    if dynamic:
        check_dynamic(model)
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    if size > _LARGEST:
        raise ExportError(f'The weights take {size / 2**30:.1f} GiB, and one ONNX file holds less than 2.')
    batch, *rest = shape
    check_memory(shape)
    example = torch.zeros(max(batch, 2) if dynamic else batch, *rest)  # a batch of 1 may be taken for all batches
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=list(names),
                dynamic_shapes=({0: 'batch', 2: 'height', 3: 'width'},) if dynamic else None,
                opset_version=opset,
                custom_translation_table=TRANSLATIONS,
            )
    except OnnxExporterError as error:
        cause = error.__cause__ or error
        reason = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
        raise ExportError(f'torch cannot export this network: {type(cause).__name__}: {reason[:300]}') from error
    proto = program.model_proto
    written = next(entry.version for entry in proto.opset_import if not entry.domain)
    if opset is not None and written != opset:
        raise ExportError(f'--opset {opset} cannot be written; torch wrote {written}. Leave it out, or take {written}.')
    return _without_notes(proto).SerializeToString()


def _without_notes(proto: ModelProto) -> ModelProto:
    """The exporter notes at every node where in whose source code it comes from, which is nobody's business."""
    graph = proto.graph
    for thing in (proto, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del thing.metadata_props[:]
    return proto


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own workings."""
    loggers = [logging.getLogger(name) for name in ('torch.onnx', 'onnxscript')]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
