"""Reads what the grouped linear layers of a trained DFC network learnt, and writes a report, its numbers and pictures.

python tools/probe.py work_dirs/NAME/epoch_300.pth probe/
python tools/probe.py work_dirs/NAME probe/
python tools/probe.py epoch_300.pth probe/ --earlier epoch_1.pth epoch_100.pth epoch_200.pth
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package works from here uninstalled too

from ss_backbones.probing.probe_command import main

if __name__ == '__main__':
    main()
