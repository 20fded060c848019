"""Every command and every piece of Python in the README and in docs/ is run here, checked, or listed as untested."""

import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
import timm
import torch

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmengine.config import Config  # noqa: E402
from mmengine.optim import build_optim_wrapper  # noqa: E402
from mmengine.registry import DATASETS, HOOKS, MODELS, init_default_scope  # noqa: E402
from tiny_images import write_classes  # noqa: E402

from ss_backbones import commands  # noqa: E402
from ss_backbones.commands.parsing import Parser  # noqa: E402
from ss_backbones.openmmlab.configs import find_config  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]

# Commands that are run as they stand, but for these words after them, which make them short.
SHAPES = '--train 2 --val 2 --size 64'
TWO_EPOCHS = (
    'train_cfg.max_epochs=2 train_dataloader.batch_size=8 train_dataloader.num_workers=0 val_dataloader.num_workers=0'
)
RUN = {
    'ss-backbones --help': '',
    'ss-backbones complexity ss_pvt_v2_b0': '--shape 64 64',
    'ss-backbones complexity dfc_deit_tiny_patch16_224': '',
    'ss-backbones show-settings ss_pvt_v2_b2 --runs 61 --out settings.png': '--runs 1',
    'ss-backbones show-settings ss_pvt_v2_b0 --no-time': '',
    'ss-backbones convert weights.pth timm.pth --to timm': '',
    'ss-backbones convert weights.pth official.pth --to official': '',
    'ss-backbones convert weights.pth openmmlab.safetensors --to openmmlab --safetensors': '',
    'ss-backbones make-shapes data/shapes': SHAPES,
    'ss-backbones picture configs/demo/mask-rcnn_ss-pvtv2-b0_shapes.py work_dirs/demo/iter_1500.pth predictions.png '
    '--num 8': '',
    'ss-backbones predict configs/demo/mask-rcnn_ss-pvtv2-b0_shapes.py work_dirs/demo/iter_1500.pth '
    'data/shapes/val': '',
    'ss-backbones predict configs/demo/mask-rcnn_ss-pvtv2-b0_shapes.py work_dirs/demo/iter_1500.pth data/shapes/val '
    '--out seen --score-thr 0.5': '',
    'ss-backbones pretrain mine.py --data-root DIR --cfg-options randomness.seed=0': TWO_EPOCHS,
    'ss-backbones evaluate mine.py work_dirs/mine/epoch_12.pth --data-root DIR': (
        '--cfg-options test_dataloader.num_workers=0'
    ),
    'ss-backbones swap mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py SSPVTv2 --arch b2 --weights ss_b2.pth '
    '-o dino.py': '',
    'python -m ss_backbones.timm_models path/to/train.py DATA --model ss_pvt_v2_b0 --num-classes 10': '',
}

# Commands, by their first words, that nothing here looks at, and why.
UNTESTED = {
    'source .venv/bin/activate': 'it changes the shell in which it is given',
    'tensorboard': 'a server that runs until it is stopped',
    'sbatch': 'it needs a Slurm cluster; the tests of the script have a stand-in for one',
    'mkdir': 'a command of the shell',
    'python tests/docs/first_detector.py': 'it runs a page from start to end, in minutes',
    'torchrun': 'it needs several GPUs',
    'tools/gpu_evidence.sh': 'it needs a GPU; tests/benchmark/test_gpu_evidence.py runs it on a CPU',
}
# All commands in neither table are checked: there is such a command, and it takes these arguments. The tests of
# the command run it. Where these stand, by their first words, the reader is told what has not been tried.
TOLD = (
    'sbatch',
    'torchrun',
    'tools/dist_train.sh',
    'ss-backbones benchmark --device cuda',
    'ss-backbones check-device --device cuda',
    'tools/gpu_evidence.sh',
    'ss-backbones train configs/mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py',
    'ss-backbones pretrain configs/imagenet/ss-pvtv2-b0_8xb128_in1k.py',
    'ss-backbones inherit timm:pvt_v2_b0',
    'ss-backbones inherit timm:pvt_v2_b2',
    'ss-backbones pretrain configs/imagenet/inherit/ss-pvtv2-b0_8xb128_in1k.py',
)

# What a config's part stands on where it does not say so itself, by something that it holds.
MASK_RCNN = './configs/mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py'
BASES = {
    "arch='b2', ": 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    "type='SSSwin'": 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    "type='SSViT'": 'mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py',
    "type='SSXCiT'": 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'LayerDecayOptimizerConstructor': MASK_RCNN,
    'CompileBackboneHook': MASK_RCNN,
}
# What Python says in the documentation, and here.
INSTEAD = {
    "'pvt_v2_b0', pretrained=True": "'pvt_v2_b0', pretrained=False",  # nothing is downloaded
    '/data/mine/': 'mine/',
}
# Python that another test runs, by something that it holds; what it registers can be registered once in a process.
RUN_ELSEWHERE = {'class SSConvFormer(': 'test_adding_a_network.py'}
# Words for the reader to replace, in commands within a sentence.
PLACEHOLDERS = {
    'CHECKPOINT': 'weights.pth',
    'OUT/': 'out',
    'SHARE': '0.5',
    'PROBE.json': 'probe.json',
    'CONFIG': MASK_RCNN,
    'GPUS': '8',
}


@dataclass(frozen=True)
class Snippet:
    """A block of code, or a command within a sentence."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f'{self.page.name}:{self.line}'


def _blocks(page: Path) -> Iterator[Snippet]:
    text = page.read_text()
    for match in re.finditer(r'^```(\w*)\n(.*?)^```$', text, re.MULTILINE | re.DOTALL):
        yield Snippet(page, text.count('\n', 0, match.start()) + 1, match[1], match[2])


def _sentences(page: Path) -> Iterator[Snippet]:
    """What stands in backquotes outside of blocks."""
    text = re.sub(r'^```.*?^```$', lambda block: '\n' * block[0].count('\n'), page.read_text(), flags=re.M | re.S)
    for match in re.finditer(r'`([^`]+)`', text):
        yield Snippet(page, text.count('\n', 0, match.start()) + 1, 'inline', ' '.join(match[1].split()))


def _commands(block: Snippet) -> Iterator[Snippet]:
    """The commands of a block with their variables filled in, without comments."""
    variables: dict[str, str] = {}
    for line in block.text.replace('\\\n', ' ').splitlines():
        words = shlex.split(Template(line).safe_substitute(variables), comments=True)
        if len(words) == 1 and (assignment := re.fullmatch(r'(\w+)=(.*)', words[0])):
            variables[assignment[1]] = assignment[2]
        elif words:
            yield Snippet(block.page, block.line, block.language, shlex.join(words))


BLOCKS = [block for page in PAGES for block in _blocks(page)]
INLINE = [words for page in PAGES for words in _sentences(page)]
COMMANDS = [command for block in BLOCKS if block.language == 'bash' for command in _commands(block)]
OWN = re.compile(r'(ss-backbones|make|pip install|python|tools/\w+\.sh) ')
COMMANDS += [words for words in INLINE if OWN.match(words.text)]
PYTHON = [block for block in BLOCKS if block.language == 'python']
SCRIPTS = [block for block in PYTHON if re.search(r'^(import|from) ', block.text, re.MULTILINE)]
CONFIGS = [block for block in PYTHON if block not in SCRIPTS]


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the documentation takes to be there, small."""
    folder = tmp_path_factory.mktemp('documentation')
    for name in ('configs', 'tools'):
        (folder / name).symlink_to(ROOT / name)
    torch.save(timm.create_model('ss_pvt_v2_b0', num_classes=10).state_dict(), folder / 'weights.pth')
    assert commands.run('make-shapes', [str(folder / 'data/shapes'), *SHAPES.split()]) == 0
    write_classes(folder / 'DIR', classes=10, train=1, val=1)
    for split in ('train', 'val'):
        for kind, suffix, pixels in (('images', '.jpg', 80), ('labels', '.png', 1)):
            (folder / 'mine' / kind / split).mkdir(parents=True)
            cv2.imwrite(str(folder / 'mine' / kind / split / f'1{suffix}'), np.full((48, 64), pixels, np.uint8))
    demo = Config.fromfile(ROOT / 'configs/demo/mask-rcnn_ss-pvtv2-b0_shapes.py')
    init_default_scope('mmdet')
    (folder / 'work_dirs/demo').mkdir(parents=True)
    content = {'state_dict': MODELS.build(demo.model).state_dict(), 'meta': {'dataset_meta': dict(demo.metainfo)}}
    torch.save(content, folder / 'work_dirs/demo/iter_1500.pth')
    dino = ['mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', 'SSPVTv2', '--arch', 'b0', '-o', str(folder / 'dino_b0.py')]
    assert commands.run('swap', dino) == 0
    for block in PYTHON:
        if named := re.search(r'`(\w+\.py)`[^`]*$', block.page.read_text().partition(f'```python\n{block.text}')[0]):
            (folder / named[1]).write_text(block.text)
    (folder / 'path/to').mkdir(parents=True)
    (folder / 'path/to/train.py').write_text(
        'import sys\n\nimport timm\n\nassert timm.is_model(sys.argv[sys.argv.index("--model") + 1])\n'
    )
    return folder


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def _is_in(table: Iterable[str], command: str) -> bool:
    """Whether the command begins as one of the table."""
    return any(f'{command} '.startswith(f'{start} ') for start in table)


def _bare(command: Snippet) -> str:
    """The command without the variables that are set for it."""
    return re.sub(r'^(\w+=\S+ )+', '', command.text)


def test_blocks_are_of_a_kind_that_is_looked_at() -> None:
    assert {block.language for block in BLOCKS} <= {'bash', 'python', 'bibtex'}


# --- commands


@pytest.mark.parametrize('command', COMMANDS, ids=str)
def test_command(command: Snippet, capsys: pytest.CaptureFixture[str]) -> None:
    text = _bare(command)
    if text in RUN:
        _run([*shlex.split(text), *RUN[text].split()])
    elif not _is_in(UNTESTED, text):
        words = shlex.split(text)
        _check([PLACEHOLDERS.get(word, word) for word in words] if command.language == 'inline' else words)


def _run(words: list[str]) -> None:
    if words[:2] == ['python', '-m']:
        with mock.patch.object(sys, 'argv', words[2:]):
            runpy.run_module(words[2], run_name='__main__', alter_sys=True)
        return
    if 'evaluate' in words:
        words = [word.replace('epoch_12', 'epoch_2') for word in words]
    assert words[0] == 'ss-backbones'
    assert commands.main(words[1:]) == 0


def _check(words: list[str]) -> None:
    """Whether there is such a command, and whether it takes these arguments."""
    if words[0] == 'make':
        makefile, stack = (ROOT / 'Makefile').read_text(), 'STACK='
        targets = [word for word in words[1:] if not word.startswith(stack)]
        assert all(re.search(rf'^([\w -]+ )?{target}( [\w -]+)?:', makefile, re.MULTILINE) for target in targets)
        for word in words[1:]:
            assert word in targets or (ROOT / 'environment/stacks' / word.removeprefix(stack)).is_dir()
    elif words[0] == 'pip':
        _check_pip(words)
    elif words[0] == 'tools/dist_train.sh':
        assert (ROOT / words[0]).is_file() and words[2].isdigit()
        _check_arguments('pretrain', [words[1], *words[3:]])
    elif words[0] == 'python' and words[1].startswith('tools/stress/'):
        script = (ROOT / words[1]).read_text()  # test_stress.py runs it
        assert all(f"'{word}'" in script for word in words if word.startswith('--'))
    elif words[0] == 'python' and words[1].startswith('experiments/'):
        assert (ROOT / words[1]).is_file()  # test_experiments.py runs it
    elif words[0] == 'python':
        script = re.fullmatch(r'tools/(\w+)\.py', words[1])
        name = script[1].replace('_', '-') if script else words[3]
        assert (ROOT / words[1]).is_file() if script else words[1:3] == ['-m', 'ss_backbones']
        _check_arguments(name, words[2 if script else 4 :])
    else:
        assert words[0] == 'ss-backbones', f'{shlex.join(words)} is in no table of this file'
        _check_arguments(words[1], words[2:])


def _check_pip(words: list[str]) -> None:
    """Whether the versions are the tested ones, and the extras those of the package."""
    pins = dict(re.findall(r'^([\w-]+)==(\S+)', (ROOT / 'requirements.txt').read_text(), re.MULTILINE))
    project = (ROOT / 'pyproject.toml').read_text()
    for word in words[2:]:
        if '==' in word:
            name, _, version = word.partition('==')
            assert pins[name] == version
        if extra := re.fullmatch(r'\.\[(\w+)\]', word):
            assert re.search(rf'^{extra[1]} = \[', project, re.MULTILINE)
    if '-r' in words:
        assert (ROOT / words[words.index('-r') + 1]).is_file()


class _Parsed(Exception):
    """The arguments are possible."""


def _check_arguments(name: str, words: list[str]) -> None:
    assert name in commands.COMMANDS
    if not words:  # it is only named
        return
    for word in words:
        assert not word.startswith('configs/') or Path(word).is_file(), word
    if '--cfg-options' in words and Path(words[0]).is_file():  # one that another command makes is not there
        _check_options(words)
    if name in ('train', 'test'):  # these hand their arguments on
        scope = Config.fromfile(find_config(words[0])).default_scope
        tool = Path(sys.modules[scope].__file__).parent / f'.mim/tools/{name}.py'
        theirs = [word for word in words if word not in ('--dry-run', '--partial', '--on-bad-data', 'skip')]
        with mock.patch.object(sys, 'argv', [tool.name, *theirs]):
            runpy.run_path(str(tool), run_name='documentation')['parse_args']()
        return
    parse_args = Parser.parse_args

    def parse(self: Parser, *arguments: Any) -> None:
        parse_args(self, *arguments)
        raise _Parsed

    with mock.patch.object(Parser, 'parse_args', parse), pytest.raises(_Parsed):
        commands.run(name, words)


def _check_options(words: list[str]) -> None:
    """Whether the config has what --cfg-options sets, but for the last name of each."""
    config = Config.fromfile(words[0])
    for word in words[words.index('--cfg-options') + 1 :]:
        if word.startswith('--'):
            break
        part: Any = config
        for key in word.partition('=')[0].split('.')[:-1]:
            part = part[key]


def test_tables_name_nothing_that_is_not_there() -> None:
    texts = [_bare(command) for command in COMMANDS]
    assert set(RUN) <= set(texts)
    assert not [start for start in (*UNTESTED, *TOLD) if not any(_is_in([start], text) for text in texts)]


def test_the_reader_is_told_what_is_untested() -> None:
    for page in {command.page for command in COMMANDS if _is_in(TOLD, _bare(command))}:
        assert re.search(r'\*\*(untested|Not measured:|No GPU has been measured\.)\*\*', page.read_text()), page


# --- Python


def _short(block: Snippet) -> str:
    text = block.text
    for given, instead in INSTEAD.items():
        text = text.replace(given, instead)
    return text


@pytest.mark.parametrize('block', SCRIPTS, ids=str)
def test_script(block: Snippet) -> None:
    if elsewhere := next((test for part, test in RUN_ELSEWHERE.items() if part in block.text), None):
        assert (Path(__file__).parent / elsewhere).is_file()
        return
    exec(compile(_short(block), str(block), 'exec'), {'__name__': 'documentation'})


def _read(block: Snippet, place: Path) -> Config:
    text = _short(block)
    if '_base_' not in text:
        text = f'_base_ = {next(base for part, base in BASES.items() if part in text)!r}\n{text}'
    file = place / f'{block.page.stem}_{block.line}.py'
    file.write_text(text)
    return Config.fromfile(file)


@pytest.mark.parametrize('block', CONFIGS, ids=str)
def test_config(block: Snippet, place: Path) -> None:
    config = _read(block, place)
    init_default_scope(config.get('default_scope', 'mmengine'))
    if 'custom_hooks' in block.text:
        assert [HOOKS.build(hook) for hook in config.custom_hooks]
        return
    model = MODELS.build(config.model)
    if 'optim_wrapper' in block.text:
        assert build_optim_wrapper(model, config.optim_wrapper).param_groups
    if 'img_path' in block.text:
        for loader in (config.train_dataloader, config.val_dataloader):
            assert DATASETS.build(loader.dataset)[0]['inputs'].shape[0] == 3
    if "arch='b0'" in block.text:
        model.backbone.init_weights()  # from weights.pth
        saved = torch.load('weights.pth')
        assert all(torch.equal(value, saved[name]) for name, value in model.backbone.state_dict().items())
    if 'in_channels' in block.text:
        maps = model.backbone(torch.rand(1, 3, 64, 64))
        head = config.model.get('neck') or config.model.decode_head
        assert [x.shape[1] for x in maps] == list(head.in_channels)


# --- pages


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / 'README.md').read_text().splitlines()) <= 170


@pytest.mark.parametrize('page', PAGES[1:], ids=lambda page: page.name)
def test_pages_are_linked_both_ways(page: Path) -> None:
    text, index = page.read_text(), (ROOT / 'docs/index.md').read_text()
    assert '](../README.md)' in text
    assert page.name == 'index.md' or ('](index.md)' in text and f']({page.name})' in index)


def test_files_that_are_named_exist() -> None:
    names = {
        words.text: words
        for words in INLINE
        if re.fullmatch(r'(ss_backbones|configs|tools|tests|docs)/[\w./-]*', words.text) and 'NAME' not in words.text
    }
    assert len(names) > 10
    assert not [str(words) for name, words in names.items() if not (ROOT / name).exists()]


def test_site_builds(place: Path) -> None:
    """Every link and anchor leads somewhere, or mkdocs fails."""
    pytest.importorskip('mkdocs', reason='make setup installs it')
    subprocess.run(
        [
            sys.executable,
            '-m',
            'mkdocs',
            'build',
            '--quiet',
            '--config-file',
            ROOT / 'mkdocs.yml',
            '-d',
            place / 'site',
        ],
        check=True,
    )
    assert 'specific setting' in (place / 'site/overview.html').read_text()
