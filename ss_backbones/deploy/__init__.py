"""Networks for inference: folded, and as ONNX files."""

from .folding import fold

__all__ = ['fold']
