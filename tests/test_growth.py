"""tools/growth.py: the fit, what is counted for a stage, the picture, and what is refused."""

import csv
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image
from tool_call import call_tool
from torch import nn

pytest.importorskip('mmengine')

from ss_backbones import SSPVTv2  # noqa: E402

TOOLS = Path(__file__).resolve().parents[1] / 'tools'
ARCH = {'embed_dims': (8, 16, 20, 32), 'depths': (1, 1, 1, 1)}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A module out of tools/."""
    monkeypatch.setattr(sys, 'path', [str(TOOLS), *sys.path])
    return importlib.import_module


@pytest.fixture
def call(tool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> tuple[int, str]:
        """The exit code, and everything that was said."""
        return call_tool(tool('growth').main, ('growth', *arguments), monkeypatch, capsys)

    return run


def test_exponent_of_a_power_of_the_pixels(tool) -> None:
    exponent = tool('growth_picture').exponent
    assert exponent({side: 3.0 * (side * side) ** 1.5 for side in (224, 448, 2048)}) == pytest.approx(1.5, abs=1e-9)
    # one point off by a factor of e, between two that are on the line: the slope stays, the level moves
    sides = (100, 200, 400)
    values = {side: (side * side) ** 0.5 * (torch.e if side == 200 else 1.0) for side in sides}
    assert exponent(values) == pytest.approx(0.5, abs=1e-9)
    assert exponent({224: 1.0}) is None


def test_saved_bytes_of_two_known_stages(tool) -> None:
    saved_by_stage = tool('growth_stages').saved_by_stage
    first, second = nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Sequential(nn.Linear(8, 3), nn.Sigmoid())
    x = torch.randn(5, 4)
    # the first keeps its input (5 x 4) and what ReLU gave (5 x 8), which is also the second's input; that keeps in
    # addition what the sigmoid gave (5 x 3); nothing is counted twice, and no weight
    assert saved_by_stage(nn.Sequential(first, second), [first, second], x) == [4 * (20 + 40), 4 * 15]


def test_saved_bytes_follow_checkpointing_and_the_size(tool) -> None:
    saved_by_stage = tool('growth_stages').saved_by_stage
    found = {}
    for with_cp in (False, True):
        model = SSPVTv2(ARCH, drop_path_rate=0.0, with_cp=with_cp).train()
        found[with_cp] = [saved_by_stage(model, model.stages, torch.randn(1, 3, side, side)) for side in (64, 128)]
    for small, large in zip(*found[False], strict=True):
        assert large == pytest.approx(4 * small, rel=0.05)
    assert all(less < more / 2 for less, more in zip(found[True][1], found[False][1], strict=True))


def test_clock_gives_a_lap_to_each_stage_and_the_stem_to_the_first(tool, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = tool('growth_stages')
    model, now = SSPVTv2(ARCH).eval(), [0.0]
    monkeypatch.setattr(stages.time, 'perf_counter', lambda: now[0])
    waits = []
    clock = stages.StageClock(model, lambda: waits.append(now[0]))
    cost = {model.patch_embed: 0.5, **dict(zip(model.stages, (1.0, 2.0, 4.0, 8.0), strict=True))}
    for module, seconds in cost.items():
        module.register_forward_hook(lambda *_, seconds=seconds: now.__setitem__(0, now[0] + seconds), prepend=True)
    with torch.no_grad():
        model(torch.randn(1, 3, 32, 32))
        model(torch.randn(1, 3, 32, 32))
    assert clock.laps == [[1.5, 2.0, 4.0, 8.0]] * 2
    assert len(waits) == 2 * 5  # a device that runs ahead is waited for before each reading


def test_picture_and_table(call, tmp_path: Path) -> None:
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
    assert code == 2 and 'exists, and is not overwritten' in said and out.read_bytes() == before


def test_what_runs_out_of_memory_is_named_and_left_out(
    call, tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growth = tool('growth')
    tried = []

    class Pool:
        """In place of a process of its own."""

        def submit(self, _: object, name: str, shape: object, plan: object) -> 'Pool':
            tried.append((name, shape.height))
            return self

        def result(self) -> list[int]:
            if tried[-1] == ('b0', 48):
                raise growth.BrokenProcessPool
            return [4, 3, 2, 1]

        def shutdown(self) -> None:
            pass

    monkeypatch.setattr(growth, '_new_pool', Pool)
    table = tmp_path / 'growth.csv'
    options = ['--models', 'b0', 'b0:uniform', '--sides', 32, 48, 64, '--runs', 1, '--csv', table]
    code, said = call(tmp_path / 'growth.png', *options)
    assert code == 1 and 'memory of b0 from side 48 on is left out: its process ended' in said
    assert tried == [('b0', 32), ('b0:uniform', 32), ('b0', 48), ('b0:uniform', 48), ('b0:uniform', 64)]
    rows = list(csv.DictReader(table.open()))
    assert {row['side'] for row in rows if row['model'] == 'b0' and row['saved_mib']} == {'32'}
    assert all(row['time_ms'] for row in rows) and len(rows) == 2 * 4 * 3
    assert (tmp_path / 'growth.png').is_file()


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['new.jpg'], 'new.jpg does not end in .png'),
        (['no/new.png'], 'there is no folder no; make it first'),
        (['new.png', '--models', 'b9'], "'b9': the stages that are measured are those of SSPVTv2"),
        (['new.png', '--models', 'timm:pvt_v2_b0'], 'Possible are b0, b1'),
        (['new.png', '--models', 'vit-tiny'], "'vit-tiny': the stages"),
        (['new.png', '--models', 'b0:folded'], "each with ':uniform'"),
        (['new.png', '--models', 'b0', 'b1', 'b2', 'b3', 'b4'], '5 models are too many'),
        (['new.png', '--sides', '64'], 'at least two different ones'),
        (['new.png', '--sides', '0', '64'], 'all 1 or more'),
        (['new.png', '--sides', 'wide'], 'invalid int value'),
        (['new.png', '--runs', '0'], 'at least one run'),
        (['new.png', '--csv', 'new.png'], 'cannot be both'),
        (['new.png', '--csv', 'old.csv'], 'old.csv exists, and is not overwritten'),
        *([] if torch.cuda.is_available() else [(['new.png', '--device', 'cuda'], 'no CUDA device is available')]),
    ],
)
def test_refusals_before_anything_is_measured(
    call, tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path('old.csv').write_text('mine')
    monkeypatch.setattr(tool('growth'), 'measure', lambda *_: pytest.fail('it began to measure'))
    code, said = call(*arguments)
    assert code == 2 and text in said and 'Traceback' not in said
    assert Path('old.csv').read_text() == 'mine' and not Path('new.png').exists()
