"""derive-settings: the rule against values worked out by hand, the budget, and the config that is written."""

import ast
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

import pytest
import timm
import torch
from installed import needs_mmseg
from mmengine.config import Config
from tiny_images import write_classes, write_config
from tiny_training import train

from ss_backbones.complexity import complexity
from ss_backbones.openmmlab import SSPVTv2, SSViT
from ss_backbones.probing.budget import Fit, fit
from ss_backbones.probing.record import BlockStatistics, LayerStatistics, Record, Snapshot, as_json
from ss_backbones.probing.rule import evidence_of, factors, reason_of, setting_of
from ss_backbones.probing.target import Target
from ss_backbones.settings import BlockSetting, specific_setting

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., tuple[int, str]]
VIT = Target(dict(type='ss_backbones.SSViT', arch=dict(embed_dim=32, depth=4, num_heads=2), img_size=64, in_channels=3))
PVT = Target(
    dict(
        type='ss_backbones.SSPVTv2',
        arch=dict(embed_dims=[16, 32], depths=[2, 2], num_heads=[1, 2], sr_ratios=[2, 1], mlp_ratios=[8, 4]),
        out_indices=[0, 1],
    )
)
WIDTHS = {id(VIT): [(32, 128)] * 4, id(PVT): [(16, 128)] * 2 + [(32, 128)] * 2}


def _layer(share: float = 0.8, slope: float = 0.0, error: float = 0.1) -> LayerStatistics:
    return LayerStatistics(0.1, share, slope, error, 1.0, 1.0)


def _block(
    share: float | tuple[float, float] = 0.8,
    slope: float = 0.0,
    error: float = 0.1,
    swing: float = 0.3,
    past: float = 0.0,
    width: tuple[int, int] = (8, 32),
    name: str = 'blocks.0',
) -> BlockStatistics:
    first, second = share if isinstance(share, tuple) else (share, share)
    return BlockStatistics(name, *width, _layer(first), _layer(second, slope, error), swing, past, 0.0)


def _random_blocks(widths: Sequence[tuple[int, int]], seed: int) -> list[BlockStatistics]:
    draw = Random(seed).uniform
    return [
        _block(draw(0.3, 1), draw(-1, 3), 0.1, draw(0, 0.6), draw(0, 0.2), width, f'blocks.{i}')
        for i, width in enumerate(widths)
    ]


def _fit(target: Target, blocks: Sequence[BlockStatistics], budget: float) -> Fit:
    return fit(evidence_of(blocks), target, budget)


def _settings(blocks: Sequence[BlockStatistics], factor: float = 1.0, splits_tokens: bool = True) -> list[BlockSetting]:
    return [setting_of(item, factor, splits_tokens) for item in evidence_of(blocks)]


# The rule


def test_widths_follow_the_need_and_the_attention_follows_the_mlp() -> None:
    # needs 0.4, 0.7, 0.8; none is within a tenth of their mean, 0.633
    blocks = [_block((0.3, 0.5)), _block((0.6, 0.8)), _block((0.9, 0.7))]
    found = _settings(blocks, 1.0)
    assert [s.mlp_ratio for s in found] == [1.5, 2.75, 3.0]  # from 1.6, 2.8, 3.2
    assert [s.attn_ratio for s in found] == [0.25, 0.25, 0.5]  # from -0.25, 0.375, 0.5
    found = _settings(blocks, 1.25)
    assert [s.mlp_ratio for s in found] == [2.0, 3.5, 4.0]
    assert [s.attn_ratio for s in found] == [0.25, 0.75, 1.0]
    assert [s.mlp_ratio for s in _settings(blocks, 100.0)] == [4.0, 4.0, 4.0]  # never wider than plain
    assert [s.mlp_ratio for s in _settings(blocks, 0.0)] == [1.0, 1.0, 1.0]  # never narrower than the block


def test_the_papers_pairs_of_widths() -> None:
    needs = {1.0: (4.0, 1.0), 0.875: (3.5, 0.75), 0.75: (3.0, 0.5)}
    for setting, pair in zip(_settings([_block(need) for need in needs]), needs.values(), strict=True):
        assert (setting.mlp_ratio, setting.attn_ratio) == pair


def test_a_plain_ratio_of_eight_has_the_same_steps_in_widths_of_the_block() -> None:
    # 8 x 0.6 = 4.8 and 8 x 0.9 = 7.2; shares of 8 are 0.594 and 0.875
    found = _settings([_block(0.6, width=(8, 64)), _block(0.9, width=(8, 64))])
    assert [(s.mlp_ratio, s.attn_ratio) for s in found] == [(4.75, 0.25), (7.0, 0.75)]


def test_needs_near_the_mean_count_as_the_mean() -> None:
    # mean 0.8: all but the fourth lie within a tenth of it, the third on the border
    found = _settings([_block(share) for share in (0.80, 0.77, 0.88, 0.71, 0.84)])
    assert [s.mlp_ratio for s in found] == [3.0, 3.0, 3.0, 2.75, 3.0]  # 3.2; 0.71 x 4 = 2.84
    apart = _settings([_block(0.5), _block(0.5), _block(0.58), _block(0.62)])  # mean 0.55: three within 0.055
    assert [s.mlp_ratio for s in apart] == [2.0, 2.0, 2.0, 2.25]  # 2.2 for three, 2.48 for the one that is 0.07 off


def test_gates_that_hardly_swing_are_a_relu() -> None:
    # mean 0.3: 0.27 is on the border and still noise
    found = _settings([_block(swing=swing) for swing in (0.1, 0.27, 0.3, 0.33, 0.5)])
    assert [s.act for s in found] == ['ReLU', 'GELU', 'GELU', 'GELU', 'GELU']


@pytest.mark.parametrize(
    'slope, error, expected',
    [
        (1.0, 0.1, 1.0),
        (1.0, 0.34, 0.0),  # 3 x 0.34 is more
        (1e308, 0.0, 2.0),
        (1.12, 0.1, 1.0),
        (1.13, 0.1, 1.25),  # rounded, not down
        (2.6, 0.1, 2.0),  # the paper's largest
        (-1.0, 0.1, 0.0),
        (0.0, 0.0, 0.0),
        (0.1, 0.01, 0.0),  # sure, and less than half a step
    ],
)
def test_the_ramp_is_the_slope_where_it_is_sure(slope: float, error: float, expected: float) -> None:
    assert _settings([_block(slope=slope, error=error)])[0].pos_scale == expected


def test_channels_that_pass_become_the_bypass() -> None:
    # mean 0.1: 0.09 counts as 0.1, and 0.4 makes 0.25; 0.31 x 4 = 1.24 makes the paper's 0.5
    blocks = [_block(1.0, past=past) for past in (0.0, 0.0, 0.09, 0.31)]
    found = _settings(blocks)
    assert [s.mlp_split for s in found] == [0.0, 0.0, 0.25, 0.5]
    assert [s.attn_split for s in found] == [0.0, 0.0, 0.125, 0.25]
    assert [s.attn_split for s in _settings(blocks, splits_tokens=False)] == [0.0] * 4
    narrow = _settings(blocks, 0.9)  # attn_ratio is below 1
    assert [(s.mlp_split, s.attn_split) for s in narrow][-1] == (0.5, 0.0)


def test_a_reason_has_the_numbers() -> None:
    blocks = [_block((0.3, 0.5), 1.1, 0.04, 0.1, 0.02), _block((0.7, 0.9), 0.2, 0.1, 0.42, 0.3)]
    first, second = (reason_of(item, setting_of(item, 1.2, True), 1.2) for item in evidence_of(blocks))
    assert 'effective share 0.400 (mean 0.600)' in first
    assert '4 x min(1, 1.200 x 0.400) = 1.920, so mlp_ratio 1.75 and with it attn_ratio 0.25' in first
    assert 'gate swing 0.10 (mean 0.26) is less than in the mean block, so ReLU' in first
    assert 'slope 1.10 +- 0.04, so pos_scale 1' in first
    assert '0.02 of the channels pass through (mean 0.16)' in first and 'mlp_split 0 and attn_split 0' in first
    assert '= 3.840, so mlp_ratio 3.75' in second and 'swing 0.42 (mean 0.26), so GELU' in second
    assert 'slope 0.20 +- 0.10 is not surely above 0, so pos_scale 0' in second
    assert '0.30 x 4 = 1.200 widths, so mlp_split 0.5' in second
    alike = evidence_of([_block(0.58), _block(0.62)])[0]
    assert 'effective share 0.580 (taken as the mean 0.600)' in reason_of(alike, setting_of(alike, 1.0, True), 1.0)
    least = reason_of(alike, setting_of(alike, 0.0, True), 0.0)
    assert '= 0.000, at least 1, so mlp_ratio 1 ' in least


# The budget


@pytest.mark.parametrize('budget', [0.5, 0.75, 0.9, 1.0])
@pytest.mark.parametrize('target', [VIT, PVT], ids=['vit', 'pvt'])
def test_blocks_that_are_alike_come_out_alike(target: Target, budget: float) -> None:
    noise = Random(1).uniform
    same = [
        _block(0.7 + noise(-0.02, 0.02), 1.0, 0.1, 0.3 + noise(-0.02, 0.02), 0.1 + noise(-0.02, 0.02), width)
        for width in WIDTHS[id(target)]
    ]
    found = _fit(target, same, budget).settings
    if target is VIT:
        assert len(set(found)) == 1
        return
    # steps of 0.25 are 1/32 of a plain ratio of 8 and 1/16 of one of 4
    assert len(set(found[:2])) == len(set(found[2:])) == 1
    wide, usual = found[0], found[2]
    assert 0 <= wide.mlp_ratio / 8 - usual.mlp_ratio / 4 < 1 / 16
    assert replace(wide, mlp_ratio=4.0, mlp_split=0.0) == replace(usual, mlp_ratio=4.0, mlp_split=0.0)


@pytest.mark.parametrize('target', [VIT, PVT], ids=['vit', 'pvt'])
def test_the_largest_factor_within_the_budget(target: Target) -> None:
    blocks = _random_blocks(WIDTHS[id(target)], seed=2)
    evidence, plain = evidence_of(blocks), target.cost(target.plain).macs
    possible, before = factors(evidence), None
    for budget in (0.55, 0.8, 1.0):
        found = _fit(target, blocks, budget)
        # a network on the CPU, counted apart from the search
        backbone = {**target.backbone, 'settings': found.settings}
        network = {'SSViT': SSViT, 'SSPVTv2': SSPVTv2}[backbone.pop('type').removeprefix('ss_backbones.')](**backbone)
        counted = complexity(network, (1, 3, *target.size))
        assert counted == found.cost and counted.macs <= budget * plain
        assert found.settings == [setting_of(item, found.factor, target.splits_tokens) for item in evidence]
        later = possible[possible.index(found.factor) + 1 :]
        for factor in later[:1]:
            wider = [setting_of(item, factor, target.splits_tokens) for item in evidence]
            assert wider != found.settings and target.cost_of(wider).macs > budget * plain
        if before:
            for old, new in zip(before, found.settings, strict=True):
                assert old.mlp_ratio <= new.mlp_ratio and old.attn_ratio <= new.attn_ratio
        before = found.settings
    assert [s.mlp_ratio for s in before] == [hidden / dim for dim, hidden in WIDTHS[id(target)]]
    assert all(s.attn_ratio == 1 for s in before)


def _macs_of_vit(settings: Sequence[BlockSetting], dim: int, heads: int, patches: int, classes: int) -> int:
    """Multiply-adds of a classifier with patches of 16 pixels, by the formula."""
    n = patches + 1
    total = patches * 3 * 16 * 16 * dim + dim * classes
    for s in settings:
        width = int(dim // heads * s.attn_ratio) * heads
        total += n * dim * 3 * width + 2 * n * n * width + (n - int(n * s.attn_split)) * width * dim
        hidden, past = int(dim * s.mlp_ratio), int(dim * s.mlp_split)
        total += n * dim * hidden + n * (hidden - past) * (dim - past)
    return total


# The tool


def _write(folder: Path, blocks: Sequence[BlockStatistics], config: str | None) -> Path:
    earlier = Snapshot('epoch_1.pth', 1, tuple(replace(b, gate_swing=0.9) for b in blocks[:1]))  # is not looked at
    path = folder / 'probe.json'
    path.write_text(as_json(Record(config, (earlier, Snapshot('epoch_7.pth', 7, tuple(blocks))))))
    return path


def _named(blocks: Sequence[BlockStatistics]) -> list[BlockStatistics]:
    return [replace(block, name=f'blocks.{i}') for i, block in enumerate(blocks)]


@pytest.fixture
def derive(call: Run) -> Run:
    return lambda *arguments: call('derive-settings', *arguments)


def _dfc_training(folder: Path, backbone: str = "name='dfc_deit_tiny_patch16_224', img_size=32") -> Path:
    """A config of a classifier with DFC, as a training flattens it, and 24 images beside it."""
    more = f"""
model = dict(backbone=dict({backbone}, num_classes=3))
visualizer = dict(vis_backends=[])
log_level = 'WARNING'
param_scheduler = [dict(type='CosineAnnealingLR', convert_to_iter_based=True)]
auto_scale_lr = dict(enable=False)
load_from = 'old/epoch_3.pth'
resume = True
work_dir = 'old'
test_dataloader = test_cfg = test_evaluator = None
"""
    return write_config(folder / 'dfc.py', more, 1, write_classes(folder / 'data'))


@pytest.fixture(scope='module')
def flattened(tmp_path_factory: pytest.TempPathFactory) -> str:
    config = Config.fromfile(_dfc_training(tmp_path_factory.mktemp('training')))
    config.model.init_cfg = dict(type='Pretrained', checkpoint='dfc.pth')
    return config.pretty_text


def test_what_is_written_is_what_is_printed_and_trains(flattened: str, tmp_path: Path, derive: Run) -> None:
    blocks = _random_blocks([(192, 768)] * 12, seed=3)
    probe = _write(tmp_path, blocks, flattened)
    code, said = derive(probe, '--budget', '0.7')
    assert code == 0, said
    path = tmp_path / 'derived.py'
    config = Config.fromfile(path)
    backbone = dict(config.model.backbone)
    assert 'mlp' not in backbone and backbone.pop('name') == 'ss_vit_tiny_patch16_224'
    settings = [BlockSetting(**item) for item in backbone['settings']]

    # the table
    rows = [line.split('  ') for line in said.splitlines() if line.startswith('blocks.') and ':' not in line]
    cells = [[cell.strip() for cell in row if cell.strip()][1:] for row in rows]
    assert cells == [
        [
            f'{_text(ours)} ({_text(theirs)})'
            for ours, theirs in zip(list(asdict(s).values())[:6], list(asdict(p).values())[:6], strict=True)
        ]
        for s, p in zip(settings, specific_setting(12), strict=True)
    ]

    # the budget, by the formula: 32 pixels are 2 x 2 patches
    plain = _macs_of_vit([BlockSetting()] * 12, 192, 3, 4, 3)
    macs = _macs_of_vit(settings, 192, 3, 4, 3)
    paper = _macs_of_vit(specific_setting(12), 192, 3, 4, 3)
    assert 0.65 * plain < macs <= 0.7 * plain
    network = timm.create_model('ss_vit_tiny_patch16_224', **backbone)
    params = sum(p.numel() for p in network.parameters())
    for what, count in (('plain', plain), ('derived', macs), ("the paper's SS", paper)):
        line = next(line for line in said.splitlines() if line.startswith(f'  {what} '))
        assert f'{count / 1e9:.3f} GMACs' in line and f'{count / plain:.4f} of' in line
        assert what != 'derived' or f'{params / 1e6:.3f} M' in line

    # its comments: the origin, the constants, and a reason for every block, as printed
    text = path.read_text()
    head = ' '.join(line.removeprefix('# ') for line in text.partition('\n\n')[0].splitlines())
    assert 'probe.json (epoch_7.pth, epoch 7)' in head and 'budget of 0.7 of' in head
    assert 'RESOLUTION = 0.1' in head and 'STEP = 0.25' in head and 'MOST_RAMP = 2' in head and 'c = ' in head
    comments = ' '.join(line.strip().removeprefix('# ') for line in text.splitlines() if '#' in line)
    reasons = [line for line in said.splitlines() if line.startswith('blocks.') and ': effective share ' in line]
    assert len(reasons) == 12 and all(reason in comments for reason in reasons)

    # what belonged to the old run is gone, and said where it matters
    assert not {'work_dir', 'load_from', 'resume'} & set(config) and 'init_cfg' not in config.model
    assert 'model.init_cfg (dfc.pth) is left out' in said and 'auto_scale_lr' in said
    assert config.test_dataloader == config.val_dataloader and config.test_evaluator == config.val_evaluator
    assert config.test_cfg is not None

    before = path.read_bytes()
    code, said = derive(probe, '--budget', '0.8')
    assert code == 2 and 'exists already' in said and path.read_bytes() == before

    train(path, tmp_path / 'run')
    weights = torch.load(tmp_path / 'run' / 'epoch_1.pth', weights_only=False)['state_dict']
    for i, s in enumerate(settings):
        assert weights[f'backbone.blocks.{i}.mlp.fc1.weight'].shape[0] == int(192 * s.mlp_ratio)


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f'{value:.4g}'


# keys that are no names, nested tuples and lists, signs
OPTIMISER = dict(paramwise_cfg=dict(custom_keys={'.norm': dict(decay_mult=0.0)}), betas=(0.9, [-1, None, {3: True}]))


def _small(mlp: str = 'dfc', kind: str = 'SSViT', **more: object) -> str:
    """A flattened config of a segmenter."""
    backbone = dict(VIT.backbone, type=kind, mlp=mlp, settings='uniform', **more)
    model = dict(type='EncoderDecoder', backbone=backbone)
    return Config(dict(default_scope='mmseg', model=model, optim_wrapper=OPTIMISER)).pretty_text


def test_a_segmenters_backbone(tmp_path: Path, derive: Run) -> None:
    weights = dict(type='Pretrained', checkpoint='dfc.pth')
    for name, scope in (('a', ''), ('b', 'ss_backbones.')):
        (tmp_path / name).mkdir()
        text = _small(kind=f'{scope}SSViT', init_cfg=weights, drop_path_rate=0.2)
        probe = _write(tmp_path / name, _named(_random_blocks([(32, 128)] * 4, 4)), text)
        code, said = derive(probe, '--budget', '0.8')
        assert code == 0 and 'model.backbone.init_cfg (dfc.pth) is left out' in said
        config = Config.fromfile(tmp_path / name / 'derived.py')
        assert config.optim_wrapper == OPTIMISER
        backbone = dict(config.model.backbone)
        assert backbone.pop('type') == f'{scope}SSViT' and backbone['drop_path_rate'] == 0.2
        assert 'init_cfg' not in backbone
        network = SSViT(**backbone)
        cost = VIT.cost_of(network.settings)
        assert f'  derived         {cost}' in said
        assert cost.macs <= 0.8 * VIT.cost(VIT.plain).macs


@needs_mmseg
def test_places_for_weights_that_are_yet_to_be_filled_stay(tmp_path: Path, derive: Run) -> None:
    base = ROOT / 'configs/upernet/upernet_deit-tiny_8xb2-160k_ade20k-512x512.py'
    probe = _write(tmp_path, [_block(width=(192, 768), name=f'b{i}') for i in range(12)], None)
    out = tmp_path / 'mine.py'
    code, said = derive(probe, '--budget', '0.9', '--base', base, '--out', out, '--allow-uniform')
    assert code == 0 and 'left out' not in said, said
    assert 'model.backbone.init_cfg names no checkpoint yet: fill in' in said
    theirs, mine = Config.fromfile(base), Config.fromfile(out)
    # the widest of all alike that is not plain
    written = BlockSetting(mlp_ratio=3.75, attn_ratio=0.75)
    assert [BlockSetting(**item) for item in mine.model.backbone.pop('settings')] == [written] * 12
    assert theirs.model.backbone.pop('settings') == 'uniform'
    theirs.pop('load_from'), theirs.pop('resume')
    assert mine.to_dict() == theirs.to_dict()


def test_multiply_adds_of_another_size(tmp_path: Path, derive: Run) -> None:
    base = tmp_path / 'base.py'
    base.write_text("model = dict(backbone=dict(type='SSPVTv2', arch='b0'))")
    arch = timm.create_model('ss_pvt_v2_b0').arch
    widths = [(dim, dim * ratio) for dim, ratio in zip(arch.embed_dims, arch.mlp_ratios, strict=True) for _ in range(2)]
    probe = _write(tmp_path, _random_blocks(widths, 8), None)
    found = {}
    for shape in ((), ('--shape', '320', '480')):
        out = tmp_path / f'mine{len(found)}.py'
        code, said = derive(probe, '--budget', '0.6', '--base', base, '--out', out, *shape)
        assert code == 0 and ('320 x 480 pixels' in said) == bool(shape), said
        found[shape] = Config.fromfile(out).model.backbone.settings
    small, large = ([s['mlp_ratio'] for s in settings] for settings in found.values())
    assert small != large  # attention takes another share there
    plain, mine = (SSPVTv2('b0', settings=s) for s in ('uniform', found['--shape', '320', '480']))
    share = complexity(mine, (1, 3, 320, 480)).macs / complexity(plain, (1, 3, 320, 480)).macs
    assert 0.5 < share <= 0.6
    code, said = derive(probe, '--budget', '0.6', '--base', base, '--out', tmp_path / 'no.py', '--shape', '0', '5')
    assert code == 2 and "--shape: '0' must be a whole number of pixels, at least 1" in said


def test_blocks_that_the_config_does_not_build_stay_plain(tmp_path: Path, derive: Run) -> None:
    text = _small(pyramid=False, out_indices=[0, 1])
    probe = _write(tmp_path, _named(_random_blocks([(32, 128)] * 2, 5)), text)
    assert derive(probe, '--budget', '0.8')[0] == 0
    backbone = dict(Config.fromfile(tmp_path / 'derived.py').model.backbone)
    backbone.pop('type')
    network = SSViT(**backbone)
    assert len(network.blocks) == 2 and network.settings[2:] == [BlockSetting()] * 2
    assert network.settings[0] != BlockSetting()


def test_a_classifiers_pvt(tmp_path: Path, derive: Run) -> None:
    base = tmp_path / 'base.py'
    base.write_text("model = dict(type='X', backbone=dict(name='ss_pvt_v2_b0', mlp='dfc', settings='uniform'))")
    arch = timm.create_model('ss_pvt_v2_b0').arch
    widths = [(dim, dim * r) for dim, n, r in zip(arch.embed_dims, arch.depths, arch.mlp_ratios, strict=True)] * 2
    widths = [width for pair in zip(widths[:4], widths[4:], strict=True) for width in pair]
    probe = _write(tmp_path, _random_blocks(widths, 6), None)
    code, said = derive(probe, '--budget', '0.8', '--base', base)
    assert code == 0, said
    backbone = dict(Config.fromfile(tmp_path / 'derived.py').model.backbone)
    network = timm.create_model(**{'model_name': backbone.pop('name'), **backbone})
    plain = complexity(timm.create_model('ss_pvt_v2_b0', settings='uniform'))
    assert 0.7 * plain.macs < complexity(network).macs <= 0.8 * plain.macs
    assert all(s.attn_split == 0 for s in network.settings) and 'mlp' not in backbone


def test_the_smallest_share_that_is_named_can_be_met(tmp_path: Path, derive: Run) -> None:
    probe = _write(tmp_path, _random_blocks([(32, 128)] * 4, 7), _small())
    code, said = derive(probe, '--budget', '0.01')
    assert code == 2 and 'ss-backbones derive-settings: --budget 0.01 cannot be met' in said
    least = said.rpartition(' is ')[2].strip().rstrip('.')
    assert 0.1 < float(least) < 0.6
    assert derive(probe, '--budget', f'{float(least) - 0.001:.3f}')[0] == 2
    assert not (tmp_path / 'derived.py').exists()
    assert derive(probe, '--budget', least)[0] == 0


@pytest.mark.parametrize('budget', ['', 'much', '0', '-0.5', '1.01', 'nan', 'inf', '75%'])
def test_budgets_that_are_none(budget: str, tmp_path: Path, derive: Run) -> None:
    probe = _write(tmp_path, _random_blocks([(32, 128)] * 4, 7), _small())
    code, said = derive(probe, f'--budget={budget}')
    assert code == 2 and said.startswith('ss-backbones derive-settings: argument --budget: ')
    assert repr(budget) in said and 'above 0 and at most 1' in said
    assert list(tmp_path.iterdir()) == [probe]


_FITTING = [_block(width=(32, 128))] * 4


@pytest.mark.parametrize(
    'blocks, config, words',
    [
        (_FITTING, None, 'has no config'),
        (_FITTING, 'model = open("x")', 'is no flattened config of mmengine (line 1 has'),
        (_FITTING, 'model = dict(**x)', 'is no flattened config'),
        (_FITTING, 'model = {**x}', 'is no flattened config'),
        (_FITTING, 'import os', 'line 1 is no "name = value"'),
        (_FITTING, 'model = (', 'SyntaxError'),
        (_FITTING, 'a = 1', 'has no model.backbone'),
        (_FITTING, "model = dict(backbone=dict(type='ResNet'))", 'is ResNet; settings can be derived for'),
        (_FITTING, "model = dict(backbone=dict(name='resnet18'))", "'resnet18', no model of this package"),
        (_FITTING, "model = dict(backbone=dict(type='SSViT', arch='huge'))", "cannot be built: arch='huge'"),
        (_FITTING, "model = dict(backbone=dict(name='ss_vit_tiny_patch16_224', dept=3))", 'cannot be built: '),
        (_FITTING[:3], _small(), 'The probe has 3 blocks, the network of the config 4'),
        (_FITTING[:3] + [_block(width=(32, 96))], _small(), 'has 32 channels and 96 hidden ones; in the plain network'),
        (_FITTING[:3] + [_block(width=(64, 128))], _small(), 'blocks.3 has 32 and 128'),
        ([_block(width=(32, 100))] * 4, _small(), 'hidden=100 is no multiple of dim=32'),
        ([_block(width=(0, 128))] * 4, _small(), 'hidden=128 is no multiple of dim=0'),
        ([_block(0.0, width=(32, 128))] * 4, _small(), 'gl1.effective_share is 0.0'),
        ([_block((0.5, 1.1), width=(32, 128))] * 4, _small(), 'gl2.effective_share is 1.1'),
        ([_block(swing=-0.1, width=(32, 128))] * 4, _small(), 'gate_swing is -0.1'),
        ([_block(past=1.5, width=(32, 128))] * 4, _small(), 'pass_through is 1.5'),
        ([_block(error=-1.0, width=(32, 128))] * 4, _small(), 'slope_error is -1.0'),
    ],
)
def test_probes_that_give_no_settings(
    blocks: Sequence[BlockStatistics],
    config: str | None,
    words: str,
    tmp_path: Path,
    derive: Run,
) -> None:
    probe = _write(tmp_path, blocks, config)
    code, said = derive(probe, '--budget', '0.75')
    assert code == 2 and said.startswith('ss-backbones derive-settings: ') and words in said, said
    assert 'Traceback' not in said and list(tmp_path.iterdir()) == [probe]
    assert config is not None or '--base CONFIG' in said


def test_a_config_that_came_with_a_checkpoint_is_not_run(tmp_path: Path, derive: Run) -> None:
    text = f'model = __import__("pathlib").Path({str(tmp_path / "ran")!r}).touch()'
    assert derive(_write(tmp_path, _FITTING, text), '--budget', '1')[0] == 2
    assert not (tmp_path / 'ran').exists()


def test_wrong_command_lines(tmp_path: Path, derive: Run) -> None:
    probe = _write(tmp_path, _FITTING, _small())
    for argv, words in (
        ((probe,), '--budget'),
        ((tmp_path / 'none.json', '--budget', '1'), 'none.json does not exist'),
        ((probe, '--budget', '1', '--out', tmp_path / 'x.txt'), 'does not end in .py'),
        ((probe, '--budget', '1', '--out', tmp_path / 'none' / 'x.py'), 'there is no folder'),
        ((probe, '--budget', '1', '--base', tmp_path / 'none.py'), 'there is no config file'),
        ((probe, '--budget', '1', '--what'), '--what'),
    ):
        code, said = derive(*argv)
        assert code == 2 and said.startswith('ss-backbones derive-settings: ') and words in said, said
        assert list(tmp_path.iterdir()) == [probe]


def test_nothing_is_computed_before_a_refusal(tmp_path: Path, derive: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'derived.py').write_text('mine')
    monkeypatch.setattr(Target, 'build', None)
    code, said = derive(_write(tmp_path, _FITTING, _small()), '--budget', '1')
    assert code == 2 and 'derived.py exists already' in said and (tmp_path / 'derived.py').read_text() == 'mine'


def test_names_from_a_checkpoint_stay_inside_the_comments(tmp_path: Path, derive: Run) -> None:
    blocks = [replace(block, name='b\nimport os #') for block in _FITTING]
    assert derive(_write(tmp_path, blocks, _small()), '--budget', '1', '--allow-uniform')[0] == 0
    tree = ast.parse((tmp_path / 'derived.py').read_text())
    assert all(isinstance(statement, ast.Assign) for statement in tree.body)
