"""``python -m ss_backbones.timm_models SCRIPT``: how timm's own scripts come to know the models."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from timm import create_model

assert __name__ == '__main__' and 'ss_backbones' not in globals()
model = create_model(sys.argv[2], num_classes=3)
print(sys.argv, model.num_classes)
"""


def test_a_script_runs_with_its_arguments(tmp_path: Path) -> None:
    (tmp_path / 'train.py').write_text(SCRIPT)
    command = [sys.executable, '-m', 'ss_backbones.timm_models', 'train.py', '--model', 'ss_pvt_v2_b0']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout == "['train.py', '--model', 'ss_pvt_v2_b0'] 3\n", done.stderr


@pytest.mark.parametrize(
    ('given', 'text'), [([], 'no script is given. Usage: python -m'), (['nowhere.py'], 'nowhere.py is no file. Usage:')]
)
def test_no_script(given: list[str], text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'argv', ['-m', *given])
    with pytest.raises(SystemExit, match=re.escape(text)):
        runpy.run_module('ss_backbones.timm_models', run_name='__main__')
