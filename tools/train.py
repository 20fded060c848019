"""Trains a detector or a segmenter: `python -m ss_backbones train`, from a checkout that is not installed too."""

import sys
from pathlib import Path
from runpy import run_module

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == '__main__':
    sys.argv[0] = '-m'
    run_module('ss_backbones', {'SCRIPT': 'tools/train.py'}, '__main__', alter_sys=True)
