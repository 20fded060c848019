"""``python -m ss_backbones COMMAND ...``."""

import sys

from .commands import main, run

if __name__ == '__main__':
    # the scripts in tools/ come here as well, and say what the user called
    script = globals().get('SCRIPT')
    sys.exit(run(script.removeprefix('tools/').removesuffix('.py').replace('_', '-'), sys.argv[1:], script) if script else main())
