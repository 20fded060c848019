"""Exports a classifier or a backbone to ONNX, checked against onnxruntime.

python tools/export.py ss_pvt_v2_b0 b0.onnx --checkpoint weights.pth --dynamic
python tools/export.py configs/imagenet/ss-vit-tiny_8xb128_in1k.py tiny.onnx --checkpoint epoch_300.pth
python tools/export.py configs/upernet/CONFIG.py maps.onnx --checkpoint iter_160000.pth --shape 1x512x512
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package works from here uninstalled too

from ss_backbones.export.command_line import main

if __name__ == '__main__':
    main()
