"""ss-backbones complexity, as a user calls it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from installed import needs_mmdet
from tool_call import call_command

ROOT = Path(__file__).resolve().parents[2]
DEMO_CONFIG = ROOT / 'configs/demo/mask-rcnn_ss-pvtv2-b0_shapes.py'


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """The exit code, and everything that was said."""
    monkeypatch.chdir(ROOT)
    return lambda *arguments: call_command('complexity', arguments, capsys)


@needs_mmdet
def test_complexity_of_models_and_configs(call) -> None:
    assert '224 x 224: 0.422 GMACs, 3.422 M parameters' in call('ss_pvt_v2_b0')[1]
    assert '0.566 GMACs, 3.667 M' in call('ss_pvt_v2_b0', '--settings', 'uniform')[1]
    by_name = call('ss_pvt_v2_b0', '--shape', 64, 96)[1]
    by_config = call(DEMO_CONFIG, '--shape', 64, 96)[1]
    classifier = ROOT / 'configs/imagenet/pvtv2-b0_8xb128_in1k.py'
    assert '224 x 224: 0.566 GMACs, 3.667 M' in call(classifier)[1]
    # The classifier's head makes the difference: 256 x 1000 weights and 1000 biases.
    gmacs = [float(re.search(r'([\d.]+) GMACs', said)[1]) for said in (by_name, by_config)]
    assert gmacs[0] == pytest.approx(gmacs[1], abs=0.0011) and gmacs[0] < 0.422 / 4
    assert '3.422 M' in by_name and '3.165 M' in by_config


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['pvt_v9'], 'neither a timm model nor a config file'),
        (['nowhere.py'], 'there is no config file nowhere.py'),
        (['ss_pvt_v2_b0', '--shape', '0', '5'], 'both must be at least 1'),
        (['dfc_deit_tiny_patch16_224', '--settings', 'specific'], "Take settings='uniform'"),
        (['configs/imagenet/_base_/deit_300e.py'], 'has no model.backbone with a name or a type'),
        (['resnet18', '--settings', 'uniform'], "for this package's models"),
    ],
)
def test_complexity_refuses(call, arguments: list[str], text: str) -> None:
    code, said = call(*arguments)
    assert code == 2 and text in said
