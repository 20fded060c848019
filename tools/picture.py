"""Draws predictions beside the truth: `python -m ss_backbones picture`, from a checkout that is not installed too."""

import sys
from pathlib import Path
from runpy import run_module

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == '__main__':
    sys.argv[0] = '-m'
    run_module('ss_backbones', {'SCRIPT': 'tools/picture.py'}, '__main__', alter_sys=True)
