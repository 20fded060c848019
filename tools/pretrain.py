"""Trains an image classifier of this package: ImageNet, or folders of images."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package works from here uninstalled too

try:
    from ss_backbones.classification.pretrain import main
except ModuleNotFoundError as error:  # mmengine, or what it needs itself
    print(f'tools/pretrain.py: {error}. Install it as the README says: make setup', file=sys.stderr)
    raise SystemExit(2) from None

if __name__ == '__main__':
    main()
