"""Evaluates a checkpoint of an image classifier: top-1 and top-5 accuracy."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package works from here uninstalled too

try:
    from ss_backbones.classification.evaluate import main
except ModuleNotFoundError as error:  # mmengine, or what it needs itself
    print(f'tools/evaluate.py: {error}. Install it as the README says: make setup', file=sys.stderr)
    raise SystemExit(2) from None

if __name__ == '__main__':
    main()
