"""Runs docs/first-detector.md: ``python tests/docs/first_detector.py FOLDER [--quick]``.

FOLDER is a new one; the commands are those of the environment that this runs in; of the checkout only the page is
used. ``make`` and ``source`` are left out, as that environment stands for them, and so is the internet: the plain
weights are random ones in a file. --quick draws few images.
"""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / 'docs/first-detector.md'
PLAIN = 'import timm, torch; torch.save(timm.create_model("pvt_v2_b0").state_dict(), "plain.pth")'


def commands() -> list[str]:
    """The page's commands, a line each."""
    blocks = re.findall(r'^```bash\n(.*?)^```', PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = ''.join(blocks).replace('\\\n', ' ').splitlines()
    return [line for line in lines if not line.startswith(('make ', 'source ', 'mkdir '))]


def main(folder: Path, quick: bool) -> int:
    """Run them all; the first that fails ends it. Returns its exit code."""
    folder.mkdir(parents=True)
    programs = Path(sys.executable).parent
    environment = os.environ | {'PATH': f'{programs}{os.pathsep}{os.environ["PATH"]}'}
    config = re.search(r'^```python\n(.*?)^```', PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]
    subprocess.run([sys.executable, '-c', PLAIN], cwd=folder, check=True)
    for command in commands():
        words = shlex.split(command)
        if words[1] == 'make-shapes' and quick:
            words += ['--train', '32', '--val', '2']
        if 'work_dirs/inherited' in words:
            words.append('train_cfg.max_epochs=1')
        if words[1] == 'inherit':
            words[2] = 'plain.pth'
            words += ['--count', '16', '--img-size', '128', '128'] if quick else []
        print(f'$ {shlex.join(words)}', flush=True)
        start = time.monotonic()
        code = subprocess.run(words, cwd=folder, env=environment, check=False).returncode
        print(f'# {time.monotonic() - start:.0f} s, exit code {code}\n', flush=True)
        if code:
            return code
        if words[1] == 'swap':
            (folder / 'my_dino.py').write_text(config)
    picture = folder / 'pictures/000000.png'
    print(f'{picture}: {picture.stat().st_size} bytes')
    return 0


if __name__ == '__main__':
    sys.exit(main(Path(sys.argv[1]), '--quick' in sys.argv))
