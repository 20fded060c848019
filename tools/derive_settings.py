"""Derives settings for every block from what tools/probe.py found, within a budget, and writes a config that trains so.

python tools/derive_settings.py work_dirs/dfc/probe/probe.json --budget 0.75
python tools/derive_settings.py probe.json --budget 0.6 --out tiny.py --base configs/imagenet/ss-vit-tiny_8xb128_in1k.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package works from here uninstalled too

try:
    from ss_backbones.probing.derive_command import main
except ModuleNotFoundError as error:  # mmengine, or what it needs itself
    print(f'tools/derive_settings.py: {error}. Install it as the README says: make setup', file=sys.stderr)
    raise SystemExit(2) from None

if __name__ == '__main__':
    main()
