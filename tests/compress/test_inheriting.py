"""Networks out of trained ones, over all small networks: exact where that is possible, else better than copies."""

from dataclasses import replace

import pytest
import torch
from small_networks import BACKBONES, CLASSIFIERS, SIMPLEST, Small, noisy, outputs, simplest
from torch import Tensor, nn

from ss_backbones import BlockSetting
from ss_backbones.compress import inherit_blocks
from ss_backbones.errors import UsageError
from ss_backbones.layers import Attention, Mlp
from ss_backbones.networks import UFOViT, XCiT, network_in

# those with something else in its place are refused, see networks/test_spvit.py
WITH_ATTENTION = [make for make in (*BACKBONES, *CLASSIFIERS) if 'mixers' not in make.name]
with_attention = pytest.mark.parametrize('make', WITH_ATTENTION, ids=str)

# linear attention is inherited with its widths alone
with_softmax = pytest.mark.parametrize('make', [make for make in SIMPLEST if make.network is not UFOViT], ids=str)

pytestmark = pytest.mark.usefixtures('float64')

every_linear = pytest.mark.parametrize(
    'make', [small for small in (*BACKBONES, *CLASSIFIERS) if small.name.endswith(' ufo')], ids=str
)
SIDE, IMAGES = 64, 24
EXACT = 1e-9


def images(count: int = IMAGES, side: int = SIDE) -> list[Tensor]:
    """Batches of smooth noise, in which neighbours are alike as in photographs."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.randn(count, 3, side // 8, side // 8, generator=generator)
    return list(nn.functional.interpolate(coarse, size=side, mode='bilinear').split(8))


def pair(make: Small, theirs: object, ours: object, **options: object) -> tuple[nn.Module, nn.Module]:
    """A trained network, more or less, and one that inherits from it."""
    options = {'mlp': 'standard', 'ramp': None, **options}
    source = noisy(make(**{**options, 'settings': theirs})).eval()
    return source, noisy(make(**{**options, 'settings': ours})).eval()


def plain(make: Small) -> list[BlockSetting]:
    """The settings of the plain network, one by one."""
    return network_in(make(settings='uniform', mlp='standard', ramp=None)).settings


def difference(source: nn.Module, target: nn.Module, batch: Tensor | None = None) -> float:
    """The largest difference of the outputs for images that were not seen, as a share of the largest output."""
    batch = torch.randn(2, 3, SIDE, SIDE) if batch is None else batch
    pairs = list(zip(outputs(source, batch), outputs(target, batch), strict=True))
    return max(((a - b).abs().max() / a.abs().max()).item() for a, b in pairs)


@with_attention
@torch.no_grad()
def test_equal_settings_give_the_network_itself(make: Small) -> None:
    source, target = noisy(make()).eval(), noisy(make()).eval()
    assert difference(source, target) > 0.1
    errors = [found.error for found in inherit_blocks(source, target, images())]
    assert len(errors) == len(network_in(target).all_blocks())
    assert max(errors) < EXACT**2
    assert difference(source, target) < EXACT


@every_linear
@torch.no_grad()
def test_linear_attention_is_inherited_with_its_widths_or_refused(make: Small) -> None:
    linear = [replace(setting, mixer='ufo') for setting in plain(make)]
    source, target = pair(make, linear, [replace(setting, mlp_ratio=2.0) for setting in linear])
    errors = [found.error for found in inherit_blocks(source, target, images())]
    assert max(errors) < 1  # less than what leaving the blocks out would leave over
    narrow = [replace(linear[0], attn_ratio=0.5), *linear[1:]]
    bypassing = [replace(linear[0], attn_split=0.25), *linear[1:]]
    without = dict.fromkeys(('linear_stages', 'linear_blocks') & make.options.keys())
    mixed = [replace(linear[0], mixer='attention'), *linear[1:]]
    for theirs, ours, text in (
        (linear, narrow, r'its heads cannot go from \d+ to \d+ channels'),
        (linear, bypassing, 'nor its token bypass from 0 to 0.25'),
        (mixed, linear, 'cannot be made out of softmax attention'),
        (linear, mixed, 'Give both networks the same linear_stages'),
    ):
        source, target = pair(make, theirs, ours, **without)
        with pytest.raises(UsageError, match=text):
            list(inherit_blocks(source, target, images()))


@simplest
@pytest.mark.parametrize('ramp', ['paper', 'bias', 'none'])
@torch.no_grad()
def test_a_ramp_is_taken_off_again(make: Small, ramp: str) -> None:
    settings = [replace(setting, pos_scale=2.0) for setting in plain(make)]
    source, target = pair(make, 'uniform', settings, ramp=ramp)
    list(inherit_blocks(source, target, images()))
    assert difference(source, target) < EXACT
    # and put on again, where bypasses have one as well
    bypassing = [replace(setting, mlp_split=0.5) for setting in settings]
    source, target = pair(make, [replace(setting, pos_scale=0.0) for setting in bypassing], bypassing, ramp=ramp)
    list(inherit_blocks(source, target, images()))
    assert difference(source, target) < EXACT


@simplest
@torch.no_grad()
def test_without_a_bypass_the_second_linear_takes_its_place(make: Small) -> None:
    bypassing = [replace(setting, mlp_split=0.5, pos_scale=2.0) for setting in plain(make)]
    source, target = pair(make, bypassing, 'uniform')
    list(inherit_blocks(source, target, images()))
    assert difference(source, target) < EXACT


@with_softmax
@torch.no_grad()
def test_wider_layers_compute_the_same(make: Small) -> None:
    settings = [replace(s, mlp_ratio=s.mlp_ratio + 1, attn_ratio=1.5) for s in plain(make)]
    source, target = pair(make, 'uniform', settings)
    if make.network is XCiT and make.name == 'xcit':  # where a wider attention is another function
        with pytest.raises(UsageError, match='Attention between channels with 12 in a head cannot be made out of'):
            list(inherit_blocks(source, target, images()))
        source, target = pair(make, 'uniform', [replace(s, attn_ratio=1.0) for s in settings])
    list(inherit_blocks(source, target, images()))
    assert difference(source, target) < EXACT
    new = [part for part in target.modules() if isinstance(part, Attention)]
    # nothing that is new is dead: a pair of zeros would have no gradient
    rows = [
        layer.weight[first + width - 1 : first + width]
        for a in new
        for (layer, first), width in ((a.head_layers()[i], a.head_dim) for i in (1, 2))
    ]
    assert all(row.abs().max() > 0 for row in rows)


def copied(source: nn.Module, target: nn.Module) -> None:
    """What somebody would do by hand: of every layer the first rows and columns, without ramps."""
    theirs = source.state_dict()
    for name, own in target.state_dict().items():
        if name.endswith('pos_bias'):
            continue
        part = theirs[name]
        own.copy_(part[tuple(slice(0, size) for size in own.shape)])


@with_softmax
@pytest.mark.parametrize(
    'change',
    [
        dict(attn_ratio=0.5),
        dict(mlp_ratio=0.75),
        dict(act='ReLU'),
        dict(mlp_split=0.5, pos_scale=2.0),
        dict(attn_split=0.25),
    ],
    ids=str,
)
@torch.no_grad()
def test_other_settings_leave_less_over_than_copies_do(make: Small, change: dict[str, float | str]) -> None:
    factor = change.get('mlp_ratio', 1.0)
    settings = [replace(s, **{**change, 'mlp_ratio': s.mlp_ratio * factor}) for s in plain(make)]
    source, target = pair(make, 'uniform', settings)
    copied(source, target)
    new = torch.cat([batch.flip(0, 2) for batch in images(16)])
    by_hand = difference(source, target, new)
    list(inherit_blocks(source, target, images()))
    assert difference(source, target, new) < 0.6 * by_hand


@with_softmax
@torch.no_grad()
def test_ss_out_of_a_plain_network_and_again_the_same(make: Small) -> None:
    source, target = pair(make, 'uniform', 'specific')
    errors = [found.error for found in inherit_blocks(source, target, images())]
    again = pair(make, 'uniform', 'specific')[1]
    assert [found.error for found in inherit_blocks(source, again, images())] == errors
    assert all(
        torch.equal(a, b) for a, b in zip(target.state_dict().values(), again.state_dict().values(), strict=True)
    )


@torch.no_grad()
def test_errors_are_those_of_the_tokens() -> None:
    make = CLASSIFIERS[0]
    source, target = pair(make, 'uniform', 'specific')
    batches = images()
    found = [found.error for found in inherit_blocks(source, target, batches)]
    kept: dict[tuple[nn.Module, int], list[tuple[Tensor, Tensor]]] = {}
    for network in (source, target):
        for i, block in enumerate(network.all_blocks()):
            kept[network, i] = []
            block.register_forward_hook(lambda _, x, y, at=(network, i): kept[at].append((x[0], y)))
        for batch in batches:
            network(batch)
    for i, error in enumerate(found):
        theirs, ours = kept[source, i], kept[target, i]
        left = sum((a - b).square().sum() for (_, a), (_, b) in zip(theirs, ours, strict=True))
        added = sum((after - before).square().sum() for before, after in theirs)
        assert error == pytest.approx((left / added).item(), rel=1e-9)


@with_softmax
@torch.no_grad()
def test_images_of_several_sizes(make: Small) -> None:
    source, target = pair(make, 'uniform', 'specific')
    batches = [*images(16, 64), *images(16, 96)]
    assert all(found.error < 1 for found in inherit_blocks(source, target, batches))


def test_too_few_images_and_how_many_are_needed() -> None:
    source, target = pair(CLASSIFIERS[0], 'uniform', 'specific')
    channels = source.arch.embed_dims[-1]
    per_image = (SIDE // 32) ** 2
    with pytest.raises(
        UsageError, match=f'2 images are too few.*Give {channels // per_image} images of this size or more'
    ):
        list(inherit_blocks(source, target, images(2)))
    with pytest.raises(UsageError, match='0 images are too few'):
        list(inherit_blocks(source, target, []))


def test_networks_that_differ_in_more_than_settings() -> None:
    make = CLASSIFIERS[0]
    for options, text in ((dict(num_classes=7), 'head.bias'), (dict(in_chans=1), 'patch_embed.proj.weight')):
        with pytest.raises(UsageError, match=f'differ in more than their settings: .*{text}'):
            list(inherit_blocks(make().eval(), make(**options).eval(), images()))
    arch = dict(make.options['arch'], depths=(2, 2, 2, 3))
    with pytest.raises(UsageError, match='differ in more than their settings: .*stages.3.blocks.2'):
        list(inherit_blocks(make(settings='uniform').eval(), make(settings='uniform', arch=arch).eval(), images()))
    with pytest.raises(UsageError, match='evaluation mode'):
        list(inherit_blocks(make().eval(), make(), images()))


def test_layers_that_are_not_known_are_refused() -> None:
    make = next(small for small in BACKBONES if small.name.endswith('dfc'))
    source = make().eval()
    target = make(settings=[replace(s, mlp_ratio=s.mlp_ratio + 1) for s in network_in(source).settings]).eval()
    with pytest.raises(
        UsageError, match='DfcMlp cannot be made out of a DfcMlp with other tensors, such as fc1.weight'
    ):
        list(inherit_blocks(source, target, images()))


@torch.no_grad()
def test_a_ramp_of_the_paper_stays_before_the_second_linear() -> None:
    """So that the official code and the loader take the weights for those of the settings."""
    source, target = pair(CLASSIFIERS[0], 'uniform', 'specific')
    list(inherit_blocks(source, target, images()))
    ramped = [part for part in target.modules() if isinstance(part, Mlp) and part.ramp]
    assert ramped
    for mlp in ramped:
        inner = mlp.fc2.in_features
        torch.testing.assert_close(mlp.pos_bias[:inner], mlp.expected_ramp()[:inner])
