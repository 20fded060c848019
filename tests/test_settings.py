import pytest

from ss_backbones import BlockSetting, specific_setting, uniform_setting
from ss_backbones.networks import Network
from ss_backbones.networks.catalog import families
from ss_backbones.settings import MIXERS, as_settings


def test_depth_8_is_the_published_table() -> None:
    s = BlockSetting
    assert specific_setting(8, attn_split=0.0) == [
        s(mlp_ratio=3, act='ReLU', attn_ratio=0.5),
        s(mlp_ratio=3.5, act='ReLU', attn_ratio=0.75),
        s(),
        s(),
        s(pos_scale=1),
        s(pos_scale=2),
        s(pos_scale=2),
        s(pos_scale=2, mlp_split=0.5),
    ]


def test_depth_12_is_the_published_table() -> None:
    blocks = specific_setting(12)
    assert [b.mlp_ratio for b in blocks] == [3, 3.5] + [4] * 10
    assert [b.attn_ratio for b in blocks] == [0.5, 0.75] + [1] * 10
    assert [b.act for b in blocks] == ['ReLU'] * 2 + ['GELU'] * 10
    assert [b.mlp_split for b in blocks] == [0] * 10 + [0.5] * 2
    assert [b.attn_split for b in blocks] == [0] * 10 + [0.25] * 2
    thirds = [0, 2 / 3, 4 / 3, 2]
    assert [b.pos_scale for b in blocks] == pytest.approx([0] * 4 + thirds + [2] * 4, abs=1e-6)


def test_depth_24_is_the_published_table() -> None:
    blocks = specific_setting(24)
    assert [b.mlp_ratio for b in blocks] == [3] * 2 + [3.5] * 2 + [4] * 20
    assert [b.act for b in blocks] == ['ReLU'] * 4 + ['GELU'] * 20
    assert [b.mlp_split for b in blocks] == [0] * 20 + [0.5] * 4
    assert [b.attn_split for b in blocks] == [0] * 20 + [0.25] * 4
    rising = [2 * i / 7 for i in range(8)]
    assert [b.pos_scale for b in blocks] == pytest.approx([0] * 8 + rising + [2] * 8, abs=1e-6)


@pytest.mark.parametrize('depth', range(1, 60))
def test_every_depth_has_one_setting_a_block_and_a_rising_ramp(depth: int) -> None:
    blocks = specific_setting(depth)
    scales = [b.pos_scale for b in blocks]
    assert len(blocks) == depth and scales == sorted(scales)


def test_middle_scales_come_from_float32() -> None:
    # A float64 linspace would give 0.2857142857142857 here; the official value is the float32 one.
    assert specific_setting(24)[9].pos_scale != 2 / 7
    assert specific_setting(24)[9].pos_scale == pytest.approx(2 / 7, abs=3e-8)


def test_uniform_is_vanilla() -> None:
    assert uniform_setting(3) == [BlockSetting()] * 3
    assert uniform_setting(2, BlockSetting(mlp_ratio=8)) == [BlockSetting(mlp_ratio=8)] * 2


def test_dicts_and_objects_mix() -> None:
    assert as_settings([{'mlp_ratio': 3}, BlockSetting()], 2) == [BlockSetting(mlp_ratio=3), BlockSetting()]


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (dict(attn_split=0.25, attn_ratio=0.5), 'attn_split=0.25 .* needs attn_ratio=1'),
        (dict(act='Swish'), "act='Swish' is not known; take one of GELU, ReLU"),
        (dict(mlp_ratio=0), 'mlp_ratio=0 must be above 0'),
        (dict(mlp_ratio='4'), "mlp_ratio='4' must be a finite number"),
        (dict(pos_scale=float('nan')), 'pos_scale=nan must be a finite number'),
        (dict(pos_scale=-1), 'pos_scale=-1 must be 0'),
        (dict(mlp_split=1), r'mlp_split=1 is a share and must lie in \[0, 1\)'),
        (dict(mlp_split=0.5, mlp_ratio=0.5), 'takes more channels than'),
        (dict(attn_split=-0.1), 'attn_split=-0.1 is a share'),
    ],
)
def test_bad_numbers(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        BlockSetting(**arguments)


@pytest.mark.parametrize('depth', [0, -1, 2.0, True])
def test_bad_depth(depth: object) -> None:
    with pytest.raises(ValueError, match='whole number of blocks'):
        specific_setting(depth)


@pytest.mark.parametrize(
    ('items', 'error', 'text'),
    [
        ([{}], ValueError, 'has 1 entries, but this architecture has 2 blocks'),
        ([{}, {'ratio': 3}], ValueError, r"settings\[1\] has unknown keys \['ratio'\]; known are \['mlp_ratio'"),
        ([{}, {'attn_split': 0.5, 'attn_ratio': 0.5}], ValueError, r'settings\[1\]: attn_split'),
        ([{}, 3], TypeError, r'settings\[1\] must be a BlockSetting or a dict, not int'),
        (3, TypeError, "must be 'specific', 'uniform' or a list of 2"),
    ],
)
def test_bad_lists(items: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        as_settings(items, 2)


def test_a_uniform_setting_must_be_one() -> None:
    with pytest.raises(TypeError, match="must be a BlockSetting, not 'x'"):
        uniform_setting(3, 'x')


@pytest.mark.parametrize('mixer', ['conv3x3', 'conv1x1', 'skip'])
@pytest.mark.parametrize('number', [dict(attn_ratio=0.5), dict(attn_split=0.25)])
def test_a_mixer_without_attention_refuses_numbers_of_attention(mixer: str, number: dict[str, float]) -> None:
    (name,) = number
    with pytest.raises(ValueError, match=rf"^{name}=.* does not go with mixer='{mixer}', which has no attention"):
        BlockSetting(mixer=mixer, **number)
    BlockSetting(mixer='ufo', **number)


def test_a_skip_refuses_a_ramp_and_a_convolution_does_not() -> None:
    with pytest.raises(ValueError, match=r"^pos_scale=2\.0 does not go with mixer='skip'.*no ramp"):
        BlockSetting(mixer='skip', pos_scale=2.0)
    BlockSetting(mixer='conv3x3', pos_scale=2.0)


def test_hidden_stands_in_the_place_of_the_ratio() -> None:
    assert BlockSetting(hidden=745).hidden_width(192) == 745
    assert BlockSetting(mlp_ratio=3.5).hidden_width(192) == 672
    assert BlockSetting(hidden=3, mlp_split=0.5, mlp_ratio=0.1).hidden_width(4) == 3
    for wrong in (0, -1, True, 7.0, '745'):
        with pytest.raises(ValueError, match='whole number of channels'):
            BlockSetting(hidden=wrong)


@pytest.mark.parametrize('network', families().values(), ids=lambda cls: cls.__name__)
def test_networks_refuse_mixers_that_they_do_not_have(network: type[Network]) -> None:
    arch = next(iter(network.archs))
    depth = len(network.archs[arch].plain_mlp_ratios())
    for mixer in set(MIXERS) - set(network.mixers):
        settings = [dict(mixer=mixer), *[{}] * (depth - 1)]
        with pytest.raises(ValueError, match=rf"^settings\[0\]: mixer='{mixer}' is not possible in {network.__name__}"):
            network(arch, settings)
