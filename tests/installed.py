"""What is installed here, for tests that need what the oldest promised versions, without compiled mmcv, are without."""

from importlib.util import find_spec

import pytest
import timm
import torch
from packaging.version import Version

OLD_TIMM = Version(timm.__version__) < Version('1.0.17')  # its own networks cannot be built without memory
# torch 2.6 leaves no size open in ONNX, and has no words for a BatchNorm that it has not fused
needs_new_export = pytest.mark.skipif(Version(torch.__version__) < Version('2.7'), reason='torch 2.6 exports less')
needs_mmdet = pytest.mark.skipif(find_spec('mmdet') is None, reason='mmdet is not installed')
needs_mmseg = pytest.mark.skipif(find_spec('mmseg') is None, reason='mmsegmentation is not installed')
