"""ss-backbones show-settings, as a user calls it."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from installed import needs_mmdet
from PIL import Image
from table import DFC, MODELS, ROWS, Row
from tool_call import call_command

from ss_backbones.benchmark import blocks
from ss_backbones.networks import PRESETS

ROOT = Path(__file__).resolve().parents[2]
DEMO_CONFIG = ROOT / 'configs/demo/mask-rcnn_ss-pvtv2-b0_shapes.py'
# the first model of each family, and a probe
FIRSTS = {PRESETS[row.name].network: row for row in reversed(MODELS)}.values()
PROBE = next(row for row in ROWS if row.name in DFC)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """The exit code, and everything that was said."""
    monkeypatch.chdir(ROOT)
    return lambda *arguments: call_command('show-settings', arguments, capsys)


def _lines(said: str) -> dict[str, list[str]]:
    """The cells of a table's rows, by the first one."""
    rows = [re.split(r'  +', line.strip()) for line in said.splitlines() if line.startswith('  ')]
    return {row[0]: row[1:] for row in rows}


def test_the_table_of_vit(call) -> None:
    code, said = call('ss_vit_tiny_patch16_224', '--no-time')
    rows = _lines(said)
    assert code == 0 and 'ss_vit_tiny_patch16_224 at 224 x 224' in said
    assert rows['block'] == [
        'C',
        'MLP',
        'attention',
        'act',
        'ramp',
        'MLP bypass',
        'token bypass',
        'MMACs',
        'plain',
        'ratio',
    ]
    assert rows['blocks.0'] == ['192', '576', '3 x 32', 'ReLU', '-', '-', '-', '65.55', '102.05', '0.64']
    assert rows['blocks.5'][4] == '0.67 paper'
    assert rows['blocks.11'] == [
        *('192', '768', '3 x 64', 'GELU', '2.00 paper', '96 of 768', '25%', '83.90', '102.05', '0.82')
    ]
    assert rows['outside'][-3:] == ['29.09', '29.09', '1.00'] and rows['total'][-3:] == ['1162.64', '1253.68', '0.93']
    assert 'ramp: where it ends, and how it is held: paper, a fixed tensor' in said and 'No times' in said


@pytest.mark.parametrize('row', [*FIRSTS, PROBE], ids=lambda row: row.name)
def test_totals_are_the_published_figures(call, row: Row) -> None:
    code, said = call(row.name, '--no-time', '--shape', row.size, row.size)
    rows = _lines(said)
    assert code == 0 and len(rows) == row.depth + 3
    assert float(rows['total'][-3]) == pytest.approx(row.gmacs * 1e3, abs=0.6)
    assert float(rows['total'][-2]) == pytest.approx(row.plain_gmacs * 1e3, abs=0.6)


@pytest.mark.parametrize('row', FIRSTS, ids=lambda row: row.name)
def test_times_and_the_picture(call, row: Row, tmp_path: Path) -> None:
    heights = {}
    for name, options in (('times', ['--runs', 1]), ('counts', ['--no-time'])):
        out = tmp_path / f'{name}.png'
        code, said = call(row.name, '--shape', 64, 96, '--out', out, *options)
        rows = _lines(said)
        assert code == 0 and f'{out}: {row.depth} blocks' in said
        assert ('ms' in rows['block']) == (name == 'times') == ('thread' in said) == ('medians of 1 runs' in said)
        with Image.open(out) as picture:
            heights[name] = picture.height
            assert picture.width == 900 and out.stat().st_size < 200_000
    assert heights['times'] > heights['counts']


@needs_mmdet
def test_a_config_is_shown_as_its_network(call, tmp_path: Path) -> None:
    by_name = _lines(call('ss_pvt_v2_b0', '--no-time', '--shape', 64, 96)[1])
    code, said = call(DEMO_CONFIG, '--no-time', '--shape', 64, 96)
    by_config = _lines(said)
    assert code == 0 and by_config.keys() == by_name.keys()
    assert by_config['stages.0.blocks.0'] == by_name['stages.0.blocks.0']
    assert by_config['stages.3.blocks.1'][4] == '2.00 bias' and 'bias, in the biases from the start' in said
    own = tmp_path / 'own.py'
    own.write_text(
        "model = dict(backbone=dict(name='dfc_deit_tiny_patch16_224', in_chans=1, checkpoint_path='nowhere.pth'))"
    )
    rows = _lines(call(own, '--no-time')[1])
    # the twin of a network with DFC is one without
    assert rows['blocks.0'][3] == 'DFC' and rows['blocks.0'][-2] == '102.05'


def test_mixers_have_a_column_where_one_is_no_attention(call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    block_rows = blocks.block_rows

    def with_skip(network: object) -> list[blocks.BlockRow]:
        first, *others = block_rows(network)
        return [replace(first, mixer='skip', heads=None), *others]

    monkeypatch.setattr(blocks, 'block_rows', with_skip)
    code, said = call('ss_vit_tiny_patch16_224', '--no-time', '--out', tmp_path / 'a.png')
    rows = _lines(said)
    assert code == 0 and rows['block'][7] == 'mixer'
    assert (rows['blocks.0'][2], rows['blocks.0'][7], rows['blocks.1'][7]) == ('-', 'skip', 'attention')


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['pvt_v9'], 'neither a timm model nor a config file'),
        (['nowhere.py'], 'there is no config file nowhere.py'),
        (['ss_pvt_v2_b0', '--shape', '0', '5'], 'both must be at least 1'),
        (['ss_pvt_v2_b0', '--runs', '0'], 'at least one run'),
        (['ss_pvt_v2_b0', '--out', 'picture.jpg'], 'does not end in .png'),
        (['ss_pvt_v2_b0', '--out', 'docs/speed.png'], 'exists already and is never written over'),
        (['ss_pvt_v2_b0', '--out', 'nowhere/picture.png'], 'there is no folder nowhere'),
        (['configs/imagenet/_base_/deit_300e.py'], 'has no model.backbone with a name or a type'),
        (['pvt_v2_b2'], 'holds no network of this package. Its blocks have no settings. Perhaps: ss_pvt_v2_b2'),
        (['resnet18'], 'ResNet holds no network of this package. Its blocks have no settings.'),
        pytest.param(
            ['mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'],
            'ResNet holds no network of this package.',
            marks=needs_mmdet,
        ),
        (['ss_pvt_v2_b0', '--shape', '9000000', '9000000'], 'cannot be run at 9000000 x 9000000 here'),
    ],
)
def test_show_settings_refuses(call, arguments: list[str], text: str) -> None:
    code, said = call(*arguments)
    assert code == 2 and text in said and not _lines(said)  # before anything is measured
