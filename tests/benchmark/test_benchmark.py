"""The benchmark and its pictures: what is measured, said, written and refused; never how long something took."""

import csv
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from installed import needs_mmdet
from PIL import Image
from table import PVT_V2, Row
from torch import nn

import ss_backbones
from ss_backbones import commands
from ss_backbones.benchmark import candidates, machine, memory, results, session, speed_picture
from ss_backbones.benchmark.candidates import describe, find, outputs
from ss_backbones.benchmark.memory import Alone, Failed, in_own_process, measure_alone
from ss_backbones.benchmark.plan import Plan, Shape
from ss_backbones.benchmark.results import Result
from ss_backbones.benchmark.steps import inference, make_run, make_step, rounds, training
from ss_backbones.commands import benchmark
from ss_backbones.complexity import complexity
from ss_backbones.errors import DataError, UsageError
from ss_backbones.networks import PVTv2, catalog
from ss_backbones.networks.pvt_v2 import PVTv2Arch

ROOT = Path(__file__).resolve().parents[2]
TINY = Shape(1, 64, 64)
ALONE = Alone(before=100 * 2**20, peak=150 * 2**20, first_run=1.5)
PEAKS = machine.Peaks(macs=1e11, bytes=1e10)
PEER = 'timm:pvt_v2_b0'
DEMO_CONFIG = str(ROOT / 'configs/demo/mask-rcnn_ss-pvtv2-b0_shapes.py')
Call = Callable[..., tuple[int, str]]


def build(name: str, shape: Shape, plan: Plan) -> nn.Module:
    return find(name, plan).build(shape)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command here, with the memory and the machine's peaks made up: these have tests of their own."""
    monkeypatch.setattr(session, 'measure_alone', lambda prepare, device: ALONE)
    monkeypatch.setattr(session, 'measure_peaks', lambda plan: PEAKS)
    monkeypatch.setattr(session, 'busy_share', lambda before: 0.25)

    def run(*arguments: object, command: str = 'benchmark') -> tuple[int, str]:
        code = commands.run(command, list(map(str, arguments)))
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


# --- times


def test_candidates_take_turns() -> None:
    order: list[str] = []
    models = {name: nn.Identity() for name in 'AB'}
    for name, model in models.items():
        model.register_forward_hook(lambda *_, name=name: order.append(name))
    runs = {name: partial(model, torch.zeros(1)) for name, model in models.items()}
    found = list(rounds(runs, 3, lambda: order.append('wait')))
    assert order == ['wait', 'A', 'wait', 'wait', 'B', 'wait'] * 3
    assert [list(one) for one in found] == [['A', 'B']] * 3 and all(s > 0 for one in found for s in one.values())


def test_quartiles_of_the_ratio_round_by_round() -> None:
    assert results.ratios([2, 4, 6, 8, 20], [1, 1, 1, 1, 1]) == [4, 6, 8]
    assert results.ratios([6, 1], [2, 4])[1] == pytest.approx((6 / 2 + 1 / 4) / 2)
    assert results.quartiles([5.0]) == [5.0, 5.0, 5.0]


@pytest.mark.parametrize('values', [[1.0, 3.0], [3.0, 1.0, 7.0], [2.0, 9.0, 4.0, 1.0]], ids=len)
def test_quartiles_of_few_values_are_among_them(values: list[float]) -> None:
    low, middle, high = results.quartiles(values)
    assert min(values) <= low <= middle <= high <= max(values)
    expected = torch.tensor(values).quantile(torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(torch.tensor([low, middle, high]), expected)


def test_share_and_throughput() -> None:
    result = Result('b0', Shape(8, 32, 32), [0.5, 0.1, 0.3], 10, int(6e9), '', ALONE, PEAKS)
    assert result.images_per_second == pytest.approx(8 / 0.3)
    assert result.share == pytest.approx(6e9 / 0.3 / 1e11)


def test_peaks_are_measured_in_the_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, 'SIDE', {'cpu': 128})
    monkeypatch.setattr(machine, 'NUMBERS', {'cpu': 1000})
    seen = []
    mm = torch.mm
    monkeypatch.setattr(torch, 'mm', lambda a, b, out: (seen.append(a.dtype), mm(a, b, out=out)))
    for plan, dtype in ((Plan(), torch.float32), (Plan(dtype='bf16'), torch.bfloat16)):
        peaks = machine.measure_peaks(plan)
        assert peaks.macs > 0 and peaks.bytes > 0 and set(seen) == {dtype}
        seen.clear()


def test_time_of_other_processes_is_told_from_that_of_this_one() -> None:
    before = machine.processor_time()
    own, matrix = time.process_time(), torch.ones(500, 500)
    while time.process_time() - own < 0.3:
        matrix @ matrix
    others, total = (now - then for now, then in zip(machine.processor_time(), before, strict=True))
    if not total:
        pytest.skip('this system does not tell')
    lines = [line.split() for line in Path('/proc/stat').read_text().splitlines()]
    assert total <= (0.5 + time.monotonic()) * sum(line[0].startswith('cpu') for line in lines)
    assert -0.05 < others < total - 0.2
    assert machine.busy_share(before) == pytest.approx(max(0.0, others / total), abs=0.2)


@pytest.mark.parametrize(('user', 'idle', 'share'), [(100, 300, 0.25), (0, 400, 0.0), (400, 0, 1.0)])
def test_share_of_other_processes(monkeypatch: pytest.MonkeyPatch, user: int, idle: int, share: float) -> None:
    stat = 'cpu 10 20 30 40 50 60 70 80 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n'
    monkeypatch.setattr(machine.time, 'process_time', lambda: 0.0)
    monkeypatch.setattr(machine.Path, 'read_text', lambda path: stat)
    before = machine.processor_time()
    stat = f'cpu {10 + user} 20 30 {40 + idle} 50 60 70 80 0 0\n'
    assert machine.busy_share(before) == pytest.approx(share)
    monkeypatch.setattr(machine.Path, 'exists', lambda path: False)
    assert machine.busy_share(machine.processor_time()) is None


# --- memory


def test_memory_is_that_of_a_process_of_its_own() -> None:
    here = torch.ones(300_000_000)  # 1.2 GB that the other processes must not be charged with
    numbers = 50_000_000
    small, large = (measure_alone(partial(partial, torch.ones, n), 'cpu') for n in (1, numbers))
    assert large.peak - large.before > 0.99 * 4 * numbers  # less a page or two
    assert 4 * numbers * 0.9 < large.peak - small.peak < 4 * numbers * 1.5
    assert large.peak < here.nbytes
    with pytest.raises(Failed, match='ended with code 3'):
        measure_alone(partial(os._exit, 3), 'cpu')


def test_an_error_comes_back_in_one_line() -> None:
    receiver, sender = Pipe(duplex=False)
    prepare = partial(partial, torch.reshape, torch.zeros(3), (2, 2))
    memory._send_all(sender, partial(memory._measure, prepare, 'cpu'), torch.get_num_threads())
    assert str(receiver.recv()) == "RuntimeError: shape '[2, 2]' is invalid for input of size 3"


@needs_mmdet
def test_what_the_process_is_to_prepare_can_be_sent_to_it() -> None:
    config = f'{DEMO_CONFIG}:cp'
    for name in ('b0:uniform', 'ss_vit_tiny_patch16_224:dfc:cp', config, PEER, 'mmdet:PVTv2-b0'):
        plan = Plan('train')
        prepare = pickle.loads(pickle.dumps(partial(make_run, find(name, plan), TINY, plan)))
        assert callable(prepare.args[0].build), name
    prepare()()


# --- candidates


@needs_mmdet
@pytest.mark.parametrize('row', [row for row in PVT_V2 if row.arch != 'b2_li'], ids=lambda row: row.arch)
def test_all_three_plain_pvt_v2_are_the_same_network(row: Row) -> None:
    """timm's is as published: less its classifier, the parameters are those of the table."""
    with torch.device('meta'):
        ours = build(f'{row.arch}:uniform', TINY, Plan())
    theirs = build(f'mmdet:PVTv2-{row.arch}', TINY, Plan())
    shapes, peers = ([tuple(p.shape) for p in model.parameters()] for model in (ours, theirs))
    head = 1000 * (ours.channels[-1] + 1)
    assert sum(torch.Size(s).numel() for s in shapes) == sum(torch.Size(s).numel() for s in peers)
    assert round((sum(torch.Size(s).numel() for s in peers) + head) / 1e6, 3) == row.plain_params
    if row.arch == 'b0':
        networks = [build(name, TINY, Plan()) for name in ('mmdet:PVTv2-b0', PEER)]
        assert len({session.count_operations(network, TINY, Plan()) for network in networks}) == 1


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('b0', '4 maps, strides 4 8 16 32'),
        ('vit-tiny', '4 maps, strides 4 8 16 32'),
        ('swin-tiny', '4 maps, strides 4 8 16 32'),
        pytest.param('mmdet:Swin-t', '4 maps, strides 4 8 16 32', marks=needs_mmdet),
        ('timm:swin_tiny_patch4_window7_224', '4 maps, strides 4 8 16 32'),
        ('timm:resnet18', '4 maps, strides 4 8 16 32'),
        ('timm:deit_tiny_patch16_224', '3 maps, strides 16 16 16'),
    ],
)
def test_what_a_candidate_returns(name: str, text: str) -> None:
    shape = Shape(1, 64, 96)
    model = build(name, shape, Plan())
    assert describe(outputs(model, shape), shape) == text
    with torch.no_grad():
        found = model.eval()(torch.zeros(1, 3, 64, 96))
    assert len(found) == len(outputs(model, shape))


def test_a_peer_without_maps_is_measured_as_a_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def without_features(name: str, features_only: bool = False) -> nn.Module:
        if features_only:
            raise RuntimeError('features_only not implemented')
        return create(name)

    monkeypatch.setattr(timm, 'create_model', without_features)
    found = outputs(build(PEER, TINY, Plan()), TINY)
    assert describe(found, TINY) == 'no maps: a classifier of 1000 classes'


@needs_mmdet
def test_no_drop_path() -> None:
    names = ('timm:swin_tiny_patch4_window7_224', 'b0', 'mmdet:PVTv2-b0', 'mmdet:Swin-t')
    assert any(getattr(m, 'drop_prob', 0) for m in timm.create_model(names[0].removeprefix('timm:')).modules())
    for name in names:
        model = build(name, TINY, Plan('train'))
        assert not any(getattr(module, 'drop_prob', 0) for module in model.modules()), name


@needs_mmdet
def test_dfc_and_the_networks_of_configs() -> None:
    probe = ss_backbones.SSPVTv2('b0', 'uniform', mlp='dfc')
    assert build('b0:dfc', TINY, Plan()).state_dict().keys() == probe.state_dict().keys()
    config = str(ROOT / 'configs/imagenet/deit-tiny_8xb128_in1k.py')
    model = build(f'{config}:cp', TINY, Plan('train'))
    assert model.num_classes == 1000 and not any(setting.pos_scale for setting in model.settings) and model.with_cp
    assert not any(getattr(module, 'drop_prob', 0) for module in model.modules())
    config = str(ROOT / 'configs/mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py')
    folded = build(f'{config}:folded', TINY, Plan()).state_dict().keys()
    assert folded == build('b0:bias:folded', TINY, Plan()).state_dict().keys()


@pytest.mark.parametrize(
    ('backbone', 'text'),
    [
        ("dict(name='resnet18')", r'none of this package \(resnet18\); give others as timm:NAME'),
        ("dict(type='ResNet', depth=50)", r'none of this package \(ResNet\)'),
        ("dict(type='SSPVTv2', arch='b9')", "arch='b9' is unknown"),
        ("dict(type='SSViT', in_channels=4)", 'its images have 4 channels'),
        ('None', r'none of this package \(None\)'),
    ],
)
def test_configs_that_cannot_be_measured(backbone: str, text: str, tmp_path: Path) -> None:
    config = tmp_path / 'mine.py'
    config.write_text(f"custom_imports = dict(imports=['ss_backbones'])\nmodel = dict(backbone={backbone})\n")
    with pytest.raises(UsageError, match=text):
        find(str(config), Plan())


def test_activations_are_recomputed_where_asked() -> None:
    assert all(stage.with_cp for stage in build('b0:cp', TINY, Plan('train')).stages)
    assert build(f'{PEER}:cp', TINY, Plan('train')).grad_checkpointing
    assert build('timm:deit_tiny_patch16_224:cp', TINY, Plan('train')).model.grad_checkpointing
    assert build('b0:uniform:cp', TINY, Plan('train')).settings == build('b0:uniform', TINY, Plan('train')).settings
    assert {setting.ramp for setting in build('b0:bias', TINY, Plan('train')).settings} == {'bias'}


class Outside(PVTv2):
    """A family of another package."""

    short_name = 'outside-'
    archs = {'mini': PVTv2Arch((8, 16, 20, 32), (1, 1, 1, 1))}


def test_a_network_from_outside_is_a_candidate(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, 'PRESETS', presets := dict(catalog.PRESETS))
    monkeypatch.setattr(candidates, 'PRESETS', presets)
    catalog.add(catalog.Preset('outside_mini', Outside, 'mini'))
    names = ('outside-mini', 'outside_mini:folded', 'outside-mini:uniform')
    code, said = call('--models', *names, '--shapes', '1x32x32', '--runs', 1, '--against')
    assert code == 0 and all(f'\n  {name} ' in said for name in names)
    assert isinstance(next(in_own_process(partial(built_there, find('outside-mini', Plan())))), list)
    code, said = call('--models', 'outside-min')
    assert code == 2 and 'perhaps outside-mini' in said


def built_there(candidate: candidates.Candidate) -> list[list[str]]:
    return [list(candidate.build(TINY).state_dict())]


@needs_mmdet
def test_timm_names_of_own_networks(call: Call) -> None:
    names = ('ss_pvt_v2_b0', 'ss_vit_tiny_patch16_224', 'dfc_deit_tiny_patch16_224')
    for name, short in zip(names, ('b0', 'vit-tiny', 'vit-tiny:dfc'), strict=True):
        found = [build(one, TINY, Plan()) for one in (name, short)]
        assert found[0].state_dict().keys() == found[1].state_dict().keys() and len(found[0].channels) == 4
        assert found[0].settings == found[1].settings
    name = 'ss_backbones::mask_rcnn/mask-rcnn_ss-pvtv2-b0_fpn_1x_coco.py'
    code, said = call('--models', name, '--shapes', '1x32x32', '--runs', 1, '--against')
    assert code == 0 and f'\n  {name} ' in said


def test_own_maps_are_contiguous_as_those_of_the_peers() -> None:
    for name in ('b0', 'vit-tiny', 'b0:folded'):
        assert all(m.is_contiguous() for m in build(name, TINY, Plan()).eval()(torch.zeros(1, 3, 64, 64))), name


# --- steps


def test_a_training_step() -> None:
    plan = Plan('train')
    model, run = make_step(find('b0', plan), TINY, plan)
    assert model.training
    run()
    first = {name: p.grad.clone() for name, p in model.named_parameters()}
    run()  # neither added to the first nor from other gradients
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, first[name], rtol=1e-4, atol=1e-4, msg=name)
    assert all(grad.abs().sum() > 0 for grad in first.values())
    counts = [session.count_operations(model, TINY, plan)[1] for plan in (Plan('infer'), plan)]
    assert counts[1] == 3 * counts[0] == 3 * complexity(PVTv2('b0'), (1, 3, 64, 64)).macs


def test_autocast_and_inference_mode() -> None:
    for dtype, there in (('fp32', torch.float32), ('bf16', torch.bfloat16)):
        plan, layer, seen = Plan(dtype=dtype), nn.Linear(2, 2), []
        layer.register_forward_hook(lambda _, i, out, seen=seen: seen.append((out.dtype, torch.is_inference(out))))
        inference(layer, torch.ones(1, 2), plan)()
        training(layer, layer, torch.ones(1, 2), plan)()
        assert seen == [(there, True), (there, False)] and layer.weight.grad.dtype == torch.float32


def test_compile_is_for_one_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(torch, 'compile', lambda model, **options: calls.append(options) or model)
    for plan in (Plan(compiled=True), Plan()):
        make_step(find('b0', plan), TINY, plan)
    assert calls == [{'dynamic': False}]


@needs_mmdet
def test_detectors_have_the_same_work_after_the_backbone() -> None:
    plan = Plan(detector=True)
    names = ('b0', 'vit-tiny', 'timm:swin_tiny_patch4_window7_224')
    steps = {name: make_step(find(name, plan), TINY, plan) for name in names}
    predictions = [run()[0].pred_instances for _, run in steps.values()]
    for other in predictions[1:]:
        torch.testing.assert_close(other.bboxes, predictions[0].bboxes)
        assert len(other.masks) == len(predictions[0].masks) > 5
    blocks = steps['vit-tiny'][0].backbone.model.blocks
    assert [block.attn.window_size for block in blocks] == [14, 14, None] * 4  # as this package's config has them
    maps = steps['timm:swin_tiny_patch4_window7_224'][0].backbone(torch.zeros(1, 3, 64, 64))
    assert [m.shape[1] for m in maps] == [96, 192, 384, 768] and all(m.is_contiguous() for m in maps)


@needs_mmdet
def test_a_detector_is_trained() -> None:
    plan = Plan('train', detector=True)
    model, run = make_step(find('b0', plan), TINY, plan)
    run()
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing


# --- the tool


def test_table_and_csv(call: Call, tmp_path: Path) -> None:
    file = tmp_path / 'out.csv'
    code, said = call('--shapes', '1x64x64', '1x32x64', '--runs', 2, '--csv', file)
    assert code == 0 and '\n1 x 3 x 64 x 64\n' in said and 'float32, inference, features only' in said
    assert said.count('it was busy: 25% of its processors') == 2
    assert all(said.count(f'\n  {name} ') == 2 for name in ('b0', 'b0:uniform', PEER))
    assert said.count(f'times as fast as {PEER}') == 4 and '100 GMAC/s' in said
    assert not set('\r\x1b') & set(said)  # nothing for a terminal where there is none
    rows = list(csv.DictReader(file.open()))
    assert list(rows[0])[:7] == [
        'model', 'infer_img_size', 'infer_samples_per_sec', 'infer_step_time', 'infer_batch_size', 'param_count',
        'infer_gmacs',
    ]  # fmt: skip
    assert [(row['model'], row['infer_img_size']) for row in rows[2:4]] == [(PEER, '64'), ('b0', '32x64')]
    assert list(rows[0])[-1] == 'busy_share' and {row['busy_share'] for row in rows} == {'0.25'}
    for row in rows:
        speed, step = float(row['infer_samples_per_sec']), float(row['infer_step_time'])
        assert speed == pytest.approx(1000 / step, rel=0.01)
        assert float(row['peak_memory_mib']) == 150 and float(row['memory_before_mib']) == 100
        share = float(row['infer_gmacs']) / step * 1e3 / 100
        assert float(row['peak_share']) == pytest.approx(share, rel=0.03, abs=1e-4)  # 0.02 GMACs have two digits
        assert (row['compared_to'], row['ratio'] != '') == ((PEER, True) if row['model'] != PEER else ('', False))
        assert row['torch'] == torch.__version__ and row['dtype'] == 'fp32' and row['machine']
    before = file.read_bytes()
    code, said = call('--shapes', '1x64x64', '--csv', file)
    assert code == 2 and 'exists already and is never written over' in said and file.read_bytes() == before


def test_what_fails_is_named_and_the_others_go_on(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def alone(prepare, device: str) -> Alone:
        if prepare.args[0].name == 'b0:uniform':
            raise Failed('its process ended with code -9')
        return ALONE

    monkeypatch.setattr(session, 'measure_alone', alone)
    code, said = call('--shapes', '1x8x8', '--runs', 1)  # too small for timm's PVTv2
    assert code == 1 and 'b0:uniform failed and is left out: its process ended with code -9' in said
    assert f'{PEER} failed and is left out: RuntimeError: ' in said
    assert '\n  b0 ' in said and 'times as fast' not in said


def test_ctrl_c_keeps_what_was_measured(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def rounds(runs, count, wait):
        yield dict.fromkeys(runs, 0.25)
        raise KeyboardInterrupt

    monkeypatch.setattr(session, 'rounds', rounds)
    code, said = call('--shapes', '1x32x32', '1x64x64', '--csv', tmp_path / 'a.csv')
    assert code == 130 and 'stopped after 1 of 15 rounds' in said and '250.0' in said and '64 x 64' not in said
    assert len(list(csv.DictReader((tmp_path / 'a.csv').open()))) == 3


def test_folded_models_are_measured_beside_the_others(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    folded = []
    monkeypatch.setattr(candidates, 'fold', lambda model: folded.append(model.training) or model)
    code, said = call('--fold', '--shapes', '1x32x32', '--runs', 1, '--against')
    assert code == 0 and folded == [False, False]
    assert all(f'\n  {name} ' in said for name in ('b0', 'b0:folded', 'b0:uniform', 'b0:uniform:folded'))
    code, said = call('--fold', '--models', 'b0:folded', '--shapes', '1x32x32', '--runs', 1, '--against')
    assert code == 0 and 'folded:folded' not in said
    code, said = call('--fold', '--mode', 'train')
    assert code == 2 and 'a folded model cannot be trained' in said


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['--models', 'b9'], "benchmark: there is no candidate 'b9'. There are b0, b1, "),
        (['--models', 'B0'], "benchmark: there is no candidate 'B0'; perhaps b0."),
        (['--models', 'b2-li:uniform'], "'b2-li'; perhaps b2_li."),
        (['--models', 'ss_pvt_v2_b9'], "'ss_pvt_v2_b9'; perhaps ss_pvt_v2_b"),
        (['--models', 'pvt_v2_b0'], "'pvt_v2_b0'; perhaps timm:pvt_v2_b0."),
        (['--against', 'PVTv2-b0'], 'perhaps mmdet:PVTv2-b0.'),
        (['--against', 'Timm:pvt_v2_b0'], 'perhaps timm:NAME.'),
        (['--against', 'timm:'], "'timm:' names no model; write one after it"),
        (['--against', 'timm:hf-hub:timm/resnet18'], 'timm:hf-hub:... is a place to load weights from'),
        (['--against', 'timm:PVT_v9'], 'is no timm model; perhaps pvt_v2'),
        (['--models', 'b0:cp:cp', '--mode', 'train'], "'b0:cp:cp' has the option ':cp' more than once"),
        (['--models', 'b0:plain'], "unknown option ':plain'. Possible here: :uniform"),
        (['--models', 'nowhere.py'], 'there is no config file nowhere.py'),
        pytest.param(
            ['--models', DEMO_CONFIG, '--detector'], 'around archs and peers, not around configs', marks=needs_mmdet
        ),
        pytest.param(
            ['--models', f'{DEMO_CONFIG}:uniform'],
            "unknown option ':uniform'. Possible here: :cp, :folded",
            marks=needs_mmdet,
        ),
        (['--models', 'b0:cp'], 'needs --mode train'),
        (['--against', 'timm:pvt_v9'], 'is no timm model; perhaps pvt_v2'),
        (['--against', 'mmdet:PVTv2-b9'], 'Of mmdet there are mmdet:PVTv2-b0'),
        pytest.param(
            ['--against', 'mmdet:PVTv2-b0:cp', '--mode', 'train'],
            "unknown option ':cp'. It can have none",
            marks=needs_mmdet,
        ),
        pytest.param(
            ['--detector', '--against', 'timm:deit_tiny_patch16_224'], 'strides [16, 16, 16]', marks=needs_mmdet
        ),
        (['--shapes', '224x224'], "'224x224' is no BxHxW"),
        (['--shapes', '1x0x224'], 'all three must be at least 1'),
        (['--shapes', '1x26755x26756'], "'1x26755x26756' is too large: B x 3 x H x W may be 2147483648 at most"),
        (['--shapes', f'{10**400}x1x1'], 'is too large'),
        (['--runs', '0'], 'at least one run'),
        (['--csv', ''], '. is a folder. Give the name of a new file'),
        (['--csv', str(ROOT)], f'{ROOT} is a folder. Give the name of a new file'),
        (['--csv', 'nowhere/a.csv'], 'there is no folder nowhere. Make it first'),
        (['--csv', str(ROOT / 'README.md')], 'is never written over'),
    ],
)
def test_refuses(call: Call, arguments: list[str], text: str) -> None:
    code, said = call(*arguments)
    assert code == 2 and text in said


def test_the_largest_shape() -> None:
    assert Shape.parse('1x26754x26755').height == 26754


@pytest.mark.parametrize('command', ['benchmark', 'growth', 'plot-benchmark'])
def test_help_imports_nothing_large(command: str) -> None:
    code = (
        'import sys; sys.argv[0] = "ss-backbones"; from ss_backbones import commands\n'
        f'try: commands.run({command!r}, ["--help"])\n'
        'finally: print({"torch", "timm", "numpy", "rich", "pandas"} & sys.modules.keys())'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith('usage: ') and done.stdout.endswith('set()\n')


def test_help_tells_the_true_defaults(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call('--help')
    help_text = ' '.join(capsys.readouterr().out.split())
    for device, start in (('cpu', 'Default: '), ('cuda', 'on CUDA ')):
        for names in (benchmark.MODELS[device], benchmark.PEERS[device]):
            assert start + ' '.join(names) in help_text


def test_refuses_what_is_not_there(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert 'no CUDA device is available' in call('--device', 'cuda')[1]
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    for arguments in (['--detector'], ['--against', 'mmdet:PVTv2-b0']):
        code, said = call(*arguments)
        assert code == 2 and 'needs mmdet, which is not installed' in said


# --- pictures


@pytest.fixture
def measured(call: Call, tmp_path: Path) -> Path:
    assert call('--shapes', '1x32x32', '1x64x32', '--runs', 2, '--csv', tmp_path / 'a.csv')[0] == 0
    return tmp_path / 'a.csv'


def test_picture(call: Call, measured: Path, tmp_path: Path) -> None:
    out = tmp_path / 'a.png'
    code, said = call(measured, out, command='plot-benchmark')
    assert code == 0 and '2 rows of panels' in said
    picture = Image.open(out).convert('RGB')
    assert 800 <= picture.width <= 1300
    colours = {colour: count for count, colour in picture.getcolors(1_000_000)}
    for name in (speed_picture.OWN, speed_picture.PEER):
        assert colours.get(tuple(bytes.fromhex(name[1:])), 0) > 500, name
    assert call(measured, out, command='plot-benchmark')[0] == 2


ROW = {
    'model': 'b0', 'compared_to': '', 'input': '1 x 64 x 64', 'mode': 'infer', 'measured': 'backbone', 'dtype': 'fp32',
    'compiled': 'False', 'device': 'cpu', 'machine': 'M', 'torch': '2', 'timm': '1', 'place': 'a.csv, line 2',
}  # fmt: skip


def groups_of(rows: Sequence[dict[str, str]]) -> list[pd.DataFrame]:
    """As read from a file, where what is empty is not there."""
    return speed_picture.grouped(pd.DataFrame(rows).replace('', np.nan))


def test_each_row_of_panels_has_one_peer() -> None:
    rows = [
        {**ROW, 'compared_to': 'timm:A'},
        {**ROW, 'model': 'timm:B', 'compared_to': 'timm:A'},
        {**ROW, 'model': 'timm:A'},
        {**ROW, 'compared_to': 'timm:B'},
        {**ROW, 'model': 'timm:B'},
        ROW,
    ]
    for ordered in (rows, rows[::-1]):
        found = {group['peer'].iloc[0]: set(group['model']) for group in groups_of(ordered)}
        assert found == {'timm:A': {'b0', 'timm:A', 'timm:B'}, 'timm:B': {'b0', 'timm:B'}, '': {'b0'}}


@pytest.mark.parametrize(
    'name', ['input', 'mode', 'measured', 'dtype', 'compiled', 'device', 'machine', 'torch', 'timm']
)
def test_what_was_measured_otherwise_is_drawn_apart(name: str) -> None:
    there = [{**ROW, 'compared_to': 'timm:A'}, {**ROW, 'model': 'timm:A'}]
    groups = groups_of([*there, *({**row, name: 'other'} for row in there)])
    assert [list(group['model']) for group in groups] == [['b0', 'timm:A']] * 2
    with pytest.raises(DataError, match=r'b0 was measured twice in the same way \(a.csv, line 2, and b.csv, line 9\)'):
        groups_of([*there, {**there[0], 'place': 'b.csv, line 9'}])


def test_the_axis_names_the_peer_of_its_own_rows(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peers = (PEER, 'timm:resnet18')
    files = [tmp_path / f'{place}.csv' for place in range(2)]
    for file, peer in zip(files, peers, strict=True):
        arguments = ('--models', 'b0', '--against', peer, '--shapes', '1x64x64', '--runs', 2, '--csv', file)
        assert call(*arguments)[0] == 0
    figures = []
    monkeypatch.setattr('ss_backbones.benchmark.figures.save', lambda figure, out: figures.append(figure))
    assert call(*files, tmp_path / 'a.png', command='plot-benchmark')[0] == 0
    axes = figures[0].axes[::2]
    for file, peer, ax in zip(files, peers, axes, strict=True):
        row = next(csv.DictReader(file.open()))
        ratio = float(row['ratio'])
        assert ax.get_xlabel().startswith(f'times as fast as {peer}\n')
        assert [label.get_text() for label in ax.get_yticklabels()] == ['b0', peer]
        assert [bar.get_width() for bar in ax.patches] == [ratio, 1.0]
        whisker = ax.collections[0].get_segments()[0][:, 0]
        assert whisker.tolist() == pytest.approx([float(row['ratio_low']), float(row['ratio_high'])])
        assert torch.__version__ in ax.get_title(loc='left')


def test_picture_refuses(call: Call, measured: Path, tmp_path: Path) -> None:
    text = measured.read_text()
    for name, content in (
        ('column.csv', text.replace('peak_memory_mib', 'memory')),
        ('number.csv', text.replace('150.0', 'much')),
        ('no_rows.csv', text.splitlines()[0]),
        ('empty.csv', ''),
        ('short.csv', text[: text.rindex(timm.__version__) - 1]),
        ('ratio.csv', text.replace(f',{PEER},', ',,')),
        ('copy.csv', text),
    ):
        (tmp_path / name).write_text(content)
    (tmp_path / 'binary.csv').write_bytes(b'\xff\xfe\x00')
    for files, words in (
        (('column.csv', 'a.png'), 'column.csv has no column peak_memory_mib'),
        (('number.csv', 'a.png'), "line 2: peak_memory_mib is 'much', expected a number"),
        (('no_rows.csv', 'a.png'), 'no_rows.csv has no rows'),
        (('empty.csv', 'a.png'), 'empty.csv is empty'),
        (('short.csv', 'a.png'), 'short.csv, line 7: timm is empty'),
        (('ratio.csv', 'a.png'), 'line 2: expected compared_to, ratio, ratio_low, ratio_high all filled, or none'),
        (('a.csv', '../' + tmp_path.name + '/a.csv', 'a.png'), 'a.csv is given more than once'),
        (('a.csv', 'copy.csv', 'a.png'), 'copy.csv, line 2); leave one of them out'),
        (('binary.csv', 'a.png'), 'cannot be read as CSV'),
        (('no.csv', 'a.png'), 'cannot be read as CSV'),
        (('a.csv', 'no/a.png'), 'there is no folder'),
        (('a.csv', 'a.csv'), 'does not end in .png'),
    ):
        code, said = call(*(tmp_path / file for file in files), command='plot-benchmark')
        assert code == 2 and words in said, said
    assert not (tmp_path / 'a.png').exists()
