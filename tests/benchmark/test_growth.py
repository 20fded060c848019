"""The growth of time and memory: the fit, what is counted for a stage, the picture, and what is refused."""

import csv
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from installed import needs_mmdet
from PIL import Image
from torch import nn

from ss_backbones import commands
from ss_backbones.benchmark import growth
from ss_backbones.benchmark.candidates import find
from ss_backbones.benchmark.growth import clock_stages, exponent, saved_by_stage, stage_ends
from ss_backbones.benchmark.memory import Failed, in_own_process
from ss_backbones.benchmark.plan import Plan, Shape
from ss_backbones.networks import PVTv2

ARCH = {'embed_dims': (8, 16, 20, 32), 'depths': (1, 1, 1, 1)}
Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: object) -> tuple[int, str]:
        """The exit code, and everything that was said."""
        code = commands.run('growth', list(map(str, arguments)))
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_exponent_of_a_power_of_the_pixels() -> None:
    assert exponent({side: 3.0 * (side * side) ** 1.5 for side in (224, 448, 2048)}) == pytest.approx(1.5, abs=1e-9)
    # one point off by a factor of e, between two that are on the line: the slope stays, the level moves
    sides = (100, 200, 400)
    values = {side: (side * side) ** 0.5 * (torch.e if side == 200 else 1.0) for side in sides}
    assert exponent(values) == pytest.approx(0.5, abs=1e-9)
    assert exponent({224: 1.0}) is None


def test_saved_bytes_of_two_known_stages() -> None:
    first, second = nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Sequential(nn.Linear(8, 3), nn.Sigmoid())
    x = torch.randn(5, 4)
    # the first keeps its input (5 x 4) and what ReLU gave (5 x 8), which is also the second's input; that keeps in
    # addition what the sigmoid gave (5 x 3); nothing is counted twice, and no weight
    assert saved_by_stage(nn.Sequential(first, second), [first, second], x) == [4 * (20 + 40), 4 * 15]


def test_saved_bytes_follow_checkpointing_and_the_size() -> None:
    found = {}
    for with_cp in (False, True):
        model = PVTv2(ARCH, drop_path_rate=0.0, with_cp=with_cp).train()
        found[with_cp] = [saved_by_stage(model, model.stages, torch.randn(1, 3, side, side)) for side in (64, 128)]
    for small, large in zip(*found[False], strict=True):
        assert large == pytest.approx(4 * small, rel=0.05)
    assert all(less < more / 2 for less, more in zip(found[True][1], found[False][1], strict=True))


def test_clock_gives_a_lap_to_each_stage_and_the_stem_to_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    model, now = PVTv2(ARCH).eval(), [0.0]
    monkeypatch.setattr(growth.time, 'perf_counter', lambda: now[0])
    waits = []
    laps = clock_stages(model, stage_ends(model), lambda: waits.append(now[0]))
    cost = {model.patch_embed: 0.5, **dict(zip(model.stages, (1.0, 2.0, 4.0, 8.0), strict=True))}
    for module, seconds in cost.items():
        module.register_forward_hook(lambda *_, seconds=seconds: now.__setitem__(0, now[0] + seconds), prepend=True)
    with torch.no_grad():
        model(torch.randn(1, 3, 32, 32))
        model(torch.randn(1, 3, 32, 32))
    assert laps == [[1.5, 2.0, 4.0, 8.0]] * 2
    assert len(waits) == 2 * 5  # a device that runs ahead is waited for before each reading


def test_picture_and_table(call: Call, tmp_path: Path) -> None:
    out, table = tmp_path / 'growth.png', tmp_path / 'growth.csv'
    code, said = call(out, '--sides', 32, 64, '--runs', 1, '--csv', table)
    assert code == 0 and all(f'  {name} ' in said for name in ('b0', 'b0:uniform'))
    with Image.open(out) as picture:
        assert 900 < picture.width < 1300
        assert len(picture.convert('RGB').getcolors(2**24)) > 20
    rows = list(csv.DictReader(table.open()))
    keys = [(row['model'], row['stage'], row['side']) for row in rows]
    assert len(set(keys)) == len(rows) == 2 * 4 * 2
    assert all(float(row['time_ms']) > 0 and float(row['saved_mib']) > 0 for row in rows)
    before = out.read_bytes()
    code, said = call(out)
    assert code == 2 and 'exists already and is never written over' in said and out.read_bytes() == before


@needs_mmdet
def test_a_config_stands_beside_an_arch_and_the_sum_of_the_stages_beside_them(call: Call, tmp_path: Path) -> None:
    table, config = tmp_path / 'growth.csv', 'ss_backbones::mask_rcnn/mask-rcnn_ss-pvtv2-b0-ufo_fpn_1x_coco.py'
    out = tmp_path / 'growth.png'
    code, said = call(out, '--models', 'b0', config, '--sides', 256, 512, '--runs', 1, '--csv', table)
    assert code == 0 and said.count('b0-ufo_fpn') >= 2 and 'together' in said
    kept = {(row['model'], row['stage'], row['side']): float(row['saved_mib']) for row in csv.DictReader(table.open())}
    sums = {side: sum(kept[config, stage, side] for stage in '1234') for side in ('256', '512')}
    assert f'{exponent({int(side): value for side, value in sums.items()}):.2f}' in said
    # without a softmax over the keys, and without reducing convolutions, another network was measured
    assert kept[config, '1', '512'] != kept['b0', '1', '512'] and kept[config, '3', '512'] == kept['b0', '3', '512']


def test_a_network_without_stages_is_measured_by_quarters_of_its_blocks() -> None:
    with torch.device('meta'):
        model = find('vit-tiny', Plan()).build(Shape(1, 64, 64))
    assert stage_ends(model)[:3] == [model.blocks[2], model.blocks[5], model.blocks[8]]
    assert stage_ends(model)[3] is model.norm  # which goes with the last block
    laps = clock_stages(model, stage_ends(model), lambda: None)
    with torch.no_grad():
        model(torch.randn(1, 3, 64, 64, device='meta'))
    assert len(laps) == 1 and len(laps[0]) == 4


def sides_that_fit(limit: int) -> Iterator[int]:
    """Sides, until the process is killed, as a system does that runs out of memory."""
    for side in (16, 32, 64):
        if side > limit:
            os.kill(os.getpid(), signal.SIGKILL)
        yield side


def test_what_was_found_before_memory_ran_out_is_kept() -> None:
    found = []
    with pytest.raises(Failed, match='its process ended with code -9, most likely because memory ran out'):
        for side in in_own_process(partial(sides_that_fit, 32)):
            found.append(side)
    assert found == [16, 32]


def test_what_runs_out_of_memory_is_named_and_left_out(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def in_own_process(work: partial) -> Iterator[list[int]]:
        candidate, sides, _ = work.args
        for side in sides:
            tried.append((candidate.name, side))
            if tried[-1] == ('b0', 48):
                raise Failed('its process ended with code -9, most likely because memory ran out')
            yield [4, 3, 2, 1]

    monkeypatch.setattr(growth, 'in_own_process', in_own_process)
    table = tmp_path / 'growth.csv'
    options = ['--models', 'b0', 'b0:uniform', '--sides', 32, 48, 64, '--runs', 1, '--csv', table]
    code, said = call(tmp_path / 'growth.png', *options)
    assert code == 1 and 'memory of b0 from side 48 on is left out: its process ended' in said
    assert tried == [('b0', 32), ('b0', 48), *(('b0:uniform', side) for side in (32, 48, 64))]
    rows = list(csv.DictReader(table.open()))
    assert {row['side'] for row in rows if row['model'] == 'b0' and row['saved_mib']} == {'32'}
    assert all(row['time_ms'] for row in rows) and len(rows) == 2 * 4 * 3
    assert (tmp_path / 'growth.png').is_file()


def test_what_cannot_be_timed_is_named_and_left_out(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_step, tried = growth.make_step, []

    def failing(candidate, shape, plan):
        tried.append((candidate.name, shape.height))
        if tried[-1] == ('b0', 48):
            raise torch.OutOfMemoryError('CUDA out of memory')
        return make_step(candidate, shape, plan)

    monkeypatch.setattr(growth, 'make_step', failing)
    monkeypatch.setattr(growth, 'in_own_process', lambda work: iter([[4, 3, 2, 1]] * 3))
    code, said = call(tmp_path / 'a.png', '--sides', 32, 48, 64, '--runs', 1)
    assert code == 1 and 'time of b0 from side 48 on is left out: OutOfMemoryError: CUDA out of memory' in said
    assert tried == [('b0', 32), ('b0:uniform', 32), ('b0', 48), ('b0:uniform', 48), ('b0:uniform', 64)]


def test_ctrl_c_keeps_what_was_measured(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rounds(*_: object) -> Iterator[None]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(growth, 'rounds', rounds)
    monkeypatch.setattr(growth, 'in_own_process', lambda work: iter([[4, 3, 2, 1]] * 2))
    code, said = call(tmp_path / 'a.png', '--sides', 32, 48, '--csv', tmp_path / 'a.csv')
    assert code == 130 and 'stopped; what had been measured is there' in said and (tmp_path / 'a.png').is_file()
    rows = list(csv.DictReader((tmp_path / 'a.csv').open()))
    assert len(rows) == 2 * 4 * 2 and all(row['saved_mib'] and not row['time_ms'] for row in rows)


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['new.jpg'], 'new.jpg does not end in .png'),
        (['no/new.png'], 'there is no folder no. Make it first'),
        (['new.png', '--models', 'b9'], "'b9': the stages that are measured are those of networks of this package"),
        (['new.png', '--models', 'timm:pvt_v2_b0'], 'Possible are b0, b1'),
        (['new.png', '--models', 'b0:dfc'], "'b0:dfc': the stages"),
        (['new.png', '--models', 'b0:folded'], "each with ':uniform'"),
        (['new.png', '--models', 'b0', 'b1', 'b2', 'b3', 'b4'], '5 models are too many'),
        (['new.png', '--sides', '64'], 'at least two different ones'),
        (['new.png', '--sides', '0', '64'], 'all 1 or more'),
        (['new.png', '--sides', 'wide'], 'invalid int value'),
        (['new.png', '--runs', '0'], 'at least one run'),
        (['new.png', '--csv', 'new.png'], 'cannot be both'),
        (['new.png', '--csv', 'old.csv'], 'old.csv exists already and is never written over'),
        *([] if torch.cuda.is_available() else [(['new.png', '--device', 'cuda'], 'no CUDA device is available')]),
    ],
)
def test_refusals_before_anything_is_measured(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path('old.csv').write_text('mine')
    monkeypatch.setattr(growth, 'measure', lambda *_: pytest.fail('it began to measure'))
    code, said = call(*arguments)
    assert code == 2 and text in said and 'Traceback' not in said
    assert Path('old.csv').read_text() == 'mine' and not Path('new.png').exists()
