"""Run a script of timm's that then knows this package's models: ``python -m ss_backbones.timm_models train.py ...``."""

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Hand over to the script that the command line names; importing this package has registered the models by now."""
    del sys.argv[0]
    if not sys.argv or not Path(sys.argv[0]).is_file():
        given = f'{sys.argv[0]} is no file' if sys.argv else 'no script is given'
        sys.exit(f'{given}. Usage: python -m ss_backbones.timm_models path/to/train.py ARGUMENTS OF THE SCRIPT')
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    main()
