"""`ss-backbones search`, from a checkout that need not be installed."""

import sys
from pathlib import Path

if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.argv[0] = 'ss-backbones'  # so the package is in no hurry to import torch
    from ss_backbones.commands import run

    sys.exit(run('search', sys.argv[1:], 'tools/search.py'))
