"""Folders in the layout of the hub: what is written is JSON and weights, and builds the same model again."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import timm
import torch
from installed import OLD_TIMM
from table import SMALL
from timm.models._hub import save_for_hf
from torch import nn

from ss_backbones import BlockSetting
from ss_backbones.networks import PRESETS, Network

pytestmark = pytest.mark.skipif(OLD_TIMM, reason='timm 1.0.16 leaves out what a folder says of its model')
FAMILIES = {preset.network: preset.name for preset in reversed(PRESETS.values())}
every_family = pytest.mark.parametrize('network', FAMILIES, ids=lambda network: network.__name__)


def build(network: type[Network], **options: object) -> nn.Module:
    return timm.create_model(FAMILIES[network], **{**next(iter(SMALL[network].values())), **options}).eval()


def own_settings(network: type[Network]) -> list[BlockSetting]:
    """Others than any name stands for."""
    depth = len(build(network).settings)
    return [BlockSetting(mlp_ratio=2 + i % 2, pos_scale=float(i), mlp_split=0.5 * (i % 2)) for i in range(depth)]


@pytest.mark.parametrize('kind', ['a name', 'objects', 'a tuple', 'dicts'])
@every_family
def test_a_folder_and_back(network: type[Network], kind: str, tmp_path: Path) -> None:
    own = own_settings(network)
    settings = {'a name': 'uniform', 'objects': own, 'a tuple': tuple(own), 'dicts': [asdict(s) for s in own]}[kind]
    model = build(network, num_classes=5, in_chans=4, settings=settings)
    if hasattr(model, 'set_input_size'):
        model.set_input_size((96, 64))
    save_for_hf(model, str(tmp_path))
    json.loads((tmp_path / 'config.json').read_text())
    again = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    assert again.settings == model.settings
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    x = torch.randn(2, 4, 96, 64)
    assert getattr(again, 'grid', None) == getattr(model, 'grid', None)
    torch.testing.assert_close(again(x), model(x), rtol=0, atol=0)


@pytest.mark.parametrize('channels', [1, 6])
@every_family
def test_other_channels_and_classes_than_the_folders(network: type[Network], channels: int, tmp_path: Path) -> None:
    model = build(network, num_classes=5, settings=own_settings(network))
    save_for_hf(model, str(tmp_path))
    other = timm.create_model(f'local-dir:{tmp_path}', pretrained=True, in_chans=channels, num_classes=3).eval()
    assert other(torch.randn(1, channels, 64, 64)).shape == (1, 3)
    ours, theirs = other.state_dict(), model.state_dict()
    same = [key for key in theirs if key in ours and torch.equal(ours[key], theirs[key])]
    key = f'{model.first_conv}.weight'
    assert set(theirs) - set(same) <= {key, 'head.weight', 'head.bias'}
    first = theirs[key]
    if channels == 1:
        torch.testing.assert_close(ours[key], first.sum(1, keepdim=True))
    else:  # as timm does: repeated, and scaled to the same response
        torch.testing.assert_close(ours[key], first.repeat(1, 2, 1, 1) / 2)
