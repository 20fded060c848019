"""Networks of this package as ONNX files. Needs what ``pip install "ss-backbones[export]"`` brings."""
