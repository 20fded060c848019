"""ONNX for what torch's exporter translates for one image size alone, or not exactly; these are traced, not run."""

import operator
from collections.abc import Callable, Sequence

import torch
from onnxscript import FLOAT, INT64
from onnxscript import opset18 as op


def floor_divide(self: INT64, other: INT64) -> INT64:
    """Python's ``//`` of sizes. ONNX's division rounds towards zero, which is another number for -(-height // 4)."""
    return op.Div(op.Sub(self, op.Mod(self, other)), other)


def adaptive_avg_pool2d(self: FLOAT, output_size: Sequence[int]) -> FLOAT:
    """(B, C, H, W) to (B, C, h, w) by two matrices that are made from the size: one for rows, one for columns."""
    rows = _means(op.Shape(self, start=2, end=3), output_size[0])
    columns = _means(op.Shape(self, start=3, end=4), output_size[1])
    return op.MatMul(rows, op.MatMul(self, op.Transpose(columns, perm=[1, 0])))


def _means(size: INT64, out: int) -> FLOAT:
    """The matrix (out, size) whose row i is the mean from floor(i * size / out) to ceil((i + 1) * size / out)."""
    cells = op.Constant(value_ints=list(range(out)))
    starts = op.Div(op.Mul(cells, size), out)
    ends = op.Div(op.Add(op.Mul(op.Add(cells, 1), size), out - 1), out)
    starts, ends = op.Unsqueeze(starts, [1]), op.Unsqueeze(ends, [1])
    places = op.Range(0, op.Squeeze(size), 1)
    inside = op.And(op.GreaterOrEqual(places, starts), op.Less(places, ends))
    return op.Div(op.Cast(inside, to=FLOAT.dtype), op.Cast(op.Sub(ends, starts), to=FLOAT.dtype))


TRANSLATIONS: dict[Callable[..., object], Callable[..., object]] = {
    operator.floordiv: floor_divide,
    torch.ops.aten.adaptive_avg_pool2d.default: adaptive_avg_pool2d,
}
