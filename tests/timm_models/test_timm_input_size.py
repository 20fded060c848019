"""Images of other sizes: what timm's arguments, its scripts and its set_input_size do with these models."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import nn

import ss_backbones

VIT, TWIN = 'ss_vit_tiny_patch16_224', 'deit_tiny_patch16_224'


def of_timm(name: str) -> Callable[..., Any]:
    """What older versions of timm do not have; what a test has compared before it asks has been compared."""
    return getattr(timm.models, name, None) or pytest.skip(f'this timm has no {name}')


def small(**arguments: object) -> nn.Module:
    return timm.create_model(VIT, **{'num_classes': 3, 'img_size': 64, **arguments}).eval()


def twins() -> tuple[nn.Module, nn.Module]:
    """Our plain network and timm's, with the same weights."""
    theirs = timm.create_model(TWIN, num_classes=3).eval()
    with torch.no_grad():
        theirs.pos_embed.normal_()
    ours = timm.create_model(VIT, settings='uniform', num_classes=3).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize('size', [64, (64, 96)])
def test_a_strict_model_takes_its_own_size_alone(size: object) -> None:
    loose, strict = small(img_size=size), small(img_size=size, dynamic_img_size=False)
    strict.load_state_dict(loose.state_dict())
    height, width = (size, size) if isinstance(size, int) else size
    x = torch.randn(2, 3, height, width)
    torch.testing.assert_close(strict(x), loose(x), rtol=0, atol=0)
    for other in ((96, 64), (64, 63), (48, 48)):
        images = torch.randn(2, 3, *other)
        assert loose(images).shape == (2, 3)
        text = f'have {other[0]} x {other[1]} pixels, and the model was built with dynamic_img_size=False for '
        text += f'{height} x {width}. Resize the images, call set_input_size({other}), or'
        for call in (strict, strict.forward_features, strict.forward_intermediates):
            with pytest.raises(ValueError, match=re.escape(text)):
                call(images)
    assert (
        not of_timm('get_model_input_config')(loose)['fixed_input_size']
        and of_timm('get_model_input_config')(strict)['fixed_input_size']
    )
    features = timm.create_model(VIT, features_only=True, img_size=size, dynamic_img_size=False)
    assert len(features(x)) == 3
    with pytest.raises(ValueError, match='dynamic_img_size=False'):
        features(torch.randn(1, 3, 32, 32))
    # and the advice works
    strict.set_input_size((96, 64))
    assert strict(torch.randn(2, 3, 96, 64)).shape == (2, 3)


def test_a_bad_flag() -> None:
    with pytest.raises(ValueError, match="dynamic_img_size='no' must be True or False"):
        small(dynamic_img_size='no')


@pytest.mark.parametrize(('size', 'grid'), [(96, (6, 6)), ((64, 160), (4, 10)), (224, (14, 14)), (None, (14, 14))])
def test_set_input_size_does_what_timms_does(size: object, grid: tuple[int, int]) -> None:
    ours, theirs = twins()
    before = ours.pretrained_cfg.copy()
    pair = (size, size) if isinstance(size, int) else size
    theirs.set_input_size(img_size=pair)
    ours.set_input_size(img_size=size)
    pair = pair or (224, 224)
    assert ours.grid == theirs.patch_embed.grid_size == grid and ours.img_size == theirs.patch_embed.img_size == pair
    torch.testing.assert_close(ours.pos_embed, theirs.pos_embed, rtol=0, atol=0)
    x = torch.randn(2, 3, *pair)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)
    # timm's tools learn of it, and what the pretrained weights were made for stays
    assert ours.pretrained_cfg == before
    assert (
        of_timm('get_model_input_config')(ours)['input_size']
        == of_timm('get_model_input_config')(theirs)['input_size']
        == (3, *pair)
    )
    assert of_timm('get_model_args')(ours)['img_size'] == of_timm('get_model_args')(theirs)['img_size'] == pair


def test_weights_before_and_after_set_input_size() -> None:
    source, ours = timm.create_model(VIT, num_classes=3), timm.create_model(VIT, num_classes=3)
    with torch.no_grad():
        source.pos_embed.normal_()
    ours.set_input_size((96, 64))
    ours.load_state_dict(source.state_dict())  # a table for 224 is resized to the new size
    source.set_input_size((96, 64))
    assert ours.pos_embed.shape == (1, 1 + 6 * 4, 192)
    assert all(torch.equal(value, ours.state_dict()[key]) for key, value in source.state_dict().items())
    again = timm.create_model(VIT, num_classes=3, img_size=(96, 64))  # and its own file goes back
    again.load_state_dict(ours.state_dict())
    assert torch.equal(again.pos_embed, ours.pos_embed)
    assert ss_backbones.load_weights(again, ours.state_dict()).share == 1


def test_the_table_keeps_what_it_was() -> None:
    model = small(dtype=torch.float64)
    table = model.pos_embed
    model.set_input_size(img_size=60)  # as many patches
    assert model.pos_embed is table and model.img_size == (60, 60)
    model.requires_grad_(False)
    model.set_input_size(img_size=96, patch_size=16)
    assert not model.pos_embed.requires_grad and model.pos_embed.dtype == torch.float64
    model.to('meta').set_input_size(img_size=32)
    assert model.pos_embed.is_meta and model.pos_embed.shape == (1, 5, 192)


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (dict(patch_size=8), 'patch_size=8 is not possible: the weights are for patches of 16 x 16 pixels'),
        (dict(img_size=96, patch_size=(16, 8)), 'patch_size=(16, 8) is not possible'),
        (dict(img_size=(96, 96, 3)), 'img_size=(96, 96, 3) must be a number of pixels, or height and width'),
        (dict(img_size=0), 'img_size=0 must be a whole number, 1 or more'),
    ],
)
def test_bad_sizes_change_nothing(arguments: dict, text: str) -> None:
    model = small()
    table = model.pos_embed
    with pytest.raises(ValueError, match=re.escape(text)):
        model.set_input_size(**arguments)
    assert model.pos_embed is table and model.img_size == (64, 64) and model.grid == (4, 4)


@pytest.mark.parametrize('requested', [dict(img_size=96), dict(input_size=(3, 96, 96))], ids=repr)
@pytest.mark.parametrize('name', ['ss_pvt_v2_b0', VIT])
def test_sizes_that_timms_scripts_ask_for(name: str, requested: dict) -> None:
    twin = TWIN if name == VIT else 'pvt_v2_b0'
    resolve = of_timm('resolve_model_input_args')
    ours, theirs = resolve(name, requested), resolve(twin, requested)
    assert ours.get('img_size') == theirs.get('img_size') == ((96, 96) if name == VIT else None)
    model = timm.create_model(**ours)
    assert model(torch.randn(1, 3, 96, 96)).shape == (1, 1000)
    assert getattr(model, 'grid', None) == ((6, 6) if name == VIT else None)


@pytest.mark.parametrize('name', ['ss_pvt_v2_b0', 'pvt_v2_b0'])
def test_a_pvt_has_no_size_of_its_own(name: str) -> None:
    with pytest.raises(TypeError, match='has no argument img_size|unexpected keyword argument'):
        timm.create_model(name, img_size=64)
    assert not hasattr(timm.create_model(name), 'set_input_size')
