"""What is said of weights that do not go into the network that is to be exported."""

from pathlib import Path

import pytest
import timm
import torch

from ss_backbones import SSPVTv2, SSViT
from ss_backbones.deploy.onnx.weights import load
from ss_backbones.errors import ExportError, MismatchError

B0 = 'ss_pvt_v2_b0'


def saved(content: dict[str, torch.Tensor], folder: Path) -> str:
    torch.save(content, folder / 'weights.pth')
    return str(folder / 'weights.pth')


@pytest.mark.parametrize(
    ('given', 'advice'),
    [
        (B0, f"It is one of {B0} (settings='uniform', 7 classes): give --settings uniform"),
        (
            'ss_pvt_v2_b1',
            f"It is one of {B0} (settings='uniform', 7 classes): give {B0} --settings uniform",
        ),
        (None, f"It is one of {B0} (settings='uniform', 7 classes)."),
    ],
)
def test_another_network_is_named(given: str | None, advice: str, tmp_path: Path) -> None:
    file = saved(timm.create_model('pvt_v2_b0', num_classes=7).state_dict(), tmp_path)
    with pytest.raises(MismatchError) as error:
        load(timm.create_model(given or B0), file, {}, given)
    text = str(error.value)
    assert text.endswith(f'settings and channels? {advice}') and 'partial=True' not in text
    assert error.value.report.source == file and error.value.problem in text


def test_an_unknown_network_gets_no_advice(tmp_path: Path) -> None:
    with pytest.raises(MismatchError) as error:
        load(SSPVTv2('b0'), saved({'nothing.weight': torch.ones(1)}, tmp_path), {})
    assert str(error.value).endswith('Is the checkpoint of the same arch, settings and channels?')


@pytest.mark.parametrize(
    ('source', 'text'),
    [
        (lambda: SSPVTv2('b0'), 'It has no head. Give --features for the maps'),
        (lambda: timm.create_model(B0, num_classes=7), 'Its head has 7 classes: give --num-classes 7'),
    ],
    ids=['no head', 'other classes'],
)
def test_a_head_that_does_not_fit(source, text: str, tmp_path: Path) -> None:
    file = saved(source().state_dict(), tmp_path)
    with pytest.raises(ExportError, match='has not all weights of what would be exported') as error:
        load(timm.create_model(B0), file, {})
    assert text in str(error.value)


def test_a_pyramid_is_needed_too(tmp_path: Path) -> None:
    small = dict(embed_dim=32, depth=4, num_heads=2)
    file = saved(SSViT(small, pyramid=False).state_dict(), tmp_path)
    with pytest.raises(ExportError, match=r'fresh: pyramid(.|\n)*\Z') as error:
        load(SSViT(small), file, {})
    assert 'head' not in str(error.value)


def test_what_the_config_names_is_loaded_as_it_says(tmp_path: Path) -> None:
    source = SSPVTv2('b0')
    file = saved({f'encoder.{key}': value for key, value in source.state_dict().items()}, tmp_path)
    target = SSPVTv2('b0')
    cfg = dict(type='Pretrained', checkpoint=file, prefix='encoder.')
    assert load(target, None, [dict(type='Constant', layer='Conv2d', val=0), cfg])[0].startswith(f'Weights: {file}: ')
    assert all(torch.equal(value, target.state_dict()[key]) for key, value in source.state_dict().items())
    assert 'RANDOM' in load(target, None, {})[0]
