"""Probing of DFC networks: the statistics against plain computations, and the tool from checkpoints to a report."""

import json
import math
import struct
import sys
from base64 import b64decode
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from ss_backbones import SSViT, commands
from ss_backbones.commands import probe as command
from ss_backbones.errors import OutputError
from ss_backbones.layers import GroupedLinear
from ss_backbones.probing import report
from ss_backbones.probing.observations import between_blocks, between_layers, sentences, steep
from ss_backbones.probing.reading import Series, read
from ss_backbones.probing.record import LayerStatistics, read_record
from ss_backbones.probing.statistics import block_statistics, gate_moments, layer_statistics

pytest.importorskip('matplotlib')
pytest.importorskip('scipy')

VIT = ['blocks.0', 'blocks.1', 'blocks.2']
CONFIG = "model = dict(mlp='dfc')  # <script>alert(1)</script>\n"
PICTURES = {'gl1_weights.png', 'gl2_weights.png', 'statistics.png', 'gl1_gl2.png', 'distances.png'}
State = dict[str, Tensor]
Run = Callable[..., tuple[int, str]]


def dfc_block(dim: int = 4, hidden: int = 16, *, conv: bool = False) -> State:
    """Random tensors of one block, by their keys in it."""
    half = dim // 2
    block = {
        'norm2.weight': 1 + 0.3 * torch.randn(dim),
        'norm2.bias': 0.5 * torch.randn(dim),
        'mlp.fc1.weight': torch.randn(hidden, dim),
        'mlp.fc1.bias': torch.randn(hidden),
        'mlp.dfc.gl1.weight': torch.randn(half, hidden // half),
        'mlp.dfc.gl1.bias': torch.randn(half),
        'mlp.dfc.gate.weight': torch.randn(hidden, half),
        'mlp.dfc.gate.bias': 3 * torch.randn(hidden),
        'mlp.dfc.gl2.weight': torch.randn(dim, hidden // dim),
        'mlp.dfc.gl2.bias': torch.randn(dim),
    }
    if conv:
        block |= {'mlp.dwconv.weight': torch.randn(hidden, 1, 3, 3), 'mlp.dwconv.bias': torch.randn(hidden)}
    return block


def network(names: Sequence[str] = VIT, prefix: str = '', **shape: int) -> State:
    """A state dict with such blocks, and with something else."""
    tensors = {f'{prefix}norm.weight': torch.ones(4), 'head.weight': torch.ones(3, 4)}
    for name in names:
        tensors |= {f'{prefix}{name}.{key}': tensor for key, tensor in dfc_block(**shape).items()}
    return tensors


def save_epoch(folder: Path, epoch: int, state: State | None = None, name: str = '') -> Path:
    """A checkpoint as mmengine saves it."""
    file = folder / (name or f'epoch_{epoch}.pth')
    content = {'meta': {'epoch': epoch, 'iter': 7, 'cfg': CONFIG}, 'state_dict': state or network(prefix='backbone.')}
    torch.save(content | {'message_hub': {}, 'optimizer': {'state': {}}}, file)
    return file


@pytest.fixture
def run(call: Callable[..., tuple[int, str]]) -> Run:
    return lambda *arguments: call('probe', *arguments)


# --- statistics of one layer


def plainly(w: list[float]) -> LayerStatistics:
    """The definitions, number by number."""
    count = len(w)
    ones = sum(abs(x) for x in w)
    squares = sum(x * x for x in w)
    fourths = sum(x**4 for x in w)
    t = [i / (count - 1) for i in range(count)]
    mean_t, mean_w = sum(t) / count, sum(w) / count
    spread = sum((a - mean_t) ** 2 for a in t)
    slope = sum((a - mean_t) * (b - mean_w) for a, b in zip(t, w, strict=True)) / spread
    left = sum((b - mean_w - slope * (a - mean_t)) ** 2 for a, b in zip(t, w, strict=True))
    # the variance of a quotient, from the moments of w^2 and w^4
    a, b, c, d = (sum(x**k for x in w) / count for k in (2, 4, 6, 8))
    variance = 4 * (b - a**2) / a**2 + (d - b**2) / b**2 - 4 * (c - a * b) / (a * b)
    return LayerStatistics(
        sparsity=(math.sqrt(count) - ones / math.sqrt(squares)) / (math.sqrt(count) - 1),
        effective_share=squares**2 / (count * fourths),
        slope=slope / (ones / count),
        slope_error=math.sqrt(left / (count - 2) / spread) / (ones / count),
        balance=sum(w) / ones,
        size=math.sqrt(squares / count),
        share_error=squares**2 / (count * fourths) * math.sqrt(variance / count),
    )


def as_tuple(statistics: LayerStatistics) -> tuple[float, ...]:
    return tuple(vars(statistics).values())


@pytest.mark.parametrize('scale', [1, 1e-30, 1e30])
def test_statistics_of_a_layer_are_those_of_a_plain_computation(scale: float) -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 60)
    expected = vars(plainly(values.tolist()))
    expected['size'] *= scale
    assert vars(layer_statistics(values * scale)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize('value', [1.0, 0.1, 0.7, -0.3])
def test_weights_that_are_all_equal(value: float) -> None:
    for count in (2, 60, 768):
        found = layer_statistics(np.full(count, value))
        sign = math.copysign(1, value)
        assert as_tuple(found) == pytest.approx((0, 1, 0, 0, sign, abs(value), 0), abs=1e-12)
        assert (found.slope, found.slope_error) == (0, 0), 'rounding is no slope'


def test_a_single_weight_that_is_not_zero() -> None:
    weights = np.zeros(64)
    weights[10] = -3
    found = layer_statistics(weights)
    assert (found.sparsity, found.effective_share, found.balance) == pytest.approx((1, 1 / 64, -1))
    assert found.size == pytest.approx(3 / 8)


def test_the_error_of_a_share_is_how_far_it_varies() -> None:
    draw = np.random.default_rng(0)
    found = [layer_statistics(draw.normal(size=768)) for _ in range(400)]
    varies = np.std([layer.effective_share for layer in found])
    assert np.mean([layer.share_error for layer in found]) == pytest.approx(varies, rel=0.1)


def test_weights_on_a_straight_line() -> None:
    found = layer_statistics(np.linspace(0, 5, 101))
    assert found.slope == pytest.approx(2)
    assert found.slope_error == pytest.approx(0, abs=1e-12)
    assert layer_statistics(np.linspace(3, 1, 101)).slope == pytest.approx(-1)


def test_weights_of_a_normal_distribution() -> None:
    found = layer_statistics(np.random.default_rng(0).normal(size=200_000))
    # |w|_1 / |w|_2 is sqrt(2 H / pi), the fourth moment is 3
    assert found.sparsity == pytest.approx(1 - math.sqrt(2 / math.pi), abs=0.005)
    assert found.effective_share == pytest.approx(1 / 3, abs=0.01)
    assert found.balance == pytest.approx(0, abs=0.01)
    assert abs(found.slope) < 4 * found.slope_error
    assert found.slope_error == pytest.approx(math.sqrt(12 / 200_000) / math.sqrt(2 / math.pi), rel=0.01)


def test_weights_that_are_all_zero() -> None:
    assert as_tuple(layer_statistics(np.zeros(16))) == (1, 1 / 16, 0, 0, 0, 0, 0)
    found = block_statistics('blocks.0', {key: torch.zeros_like(t) for key, t in dfc_block(conv=True).items()})
    assert (found.gate_swing, found.pass_through, found.correlation) == (0, 0, 0)


def test_the_report_says_where_the_weights_start(probed: tuple[Path, list[State]]) -> None:
    found = layer_statistics(GroupedLinear(40_000, 4).weight.detach().double().numpy().ravel())
    assert abs(found.slope) < 4 * found.slope_error
    assert (found.sparsity, found.effective_share) == pytest.approx((0.2, 0.33), abs=0.01)
    assert (found.balance, found.size) == pytest.approx((0, 0.01), abs=0.03)
    assert found.size == pytest.approx(0.01, rel=0.02)
    words = ' '.join((probed[0] / 'report.html').read_text(encoding='utf-8').split())
    for said in ('deviation of 0.01. Such weights have a sparsity of about 0.2,', 'share of about 0.33', 'about 0 and'):
        assert said in words


# --- gates


@pytest.mark.parametrize('conv', [False, True])
def test_moments_of_the_gates_are_those_of_sampled_tokens(conv: bool) -> None:
    block = {key: tensor.double() for key, tensor in dfc_block(4, 8, conv=conv).items()}
    count = 100_000
    tokens = torch.randn(count, 4, dtype=torch.float64) * block['norm2.weight'] + block['norm2.bias']
    hidden = F.linear(tokens, block['mlp.fc1.weight'], block['mlp.fc1.bias'])
    if conv:  # a map of nine equal tokens
        maps = hidden[..., None, None].expand(-1, -1, 3, 3)
        hidden = F.conv2d(maps, block['mlp.dwconv.weight'], block['mlp.dwconv.bias'], groups=8)[..., 0, 0]
    sums = []
    for group in range(2):
        inside = hidden[:, 4 * group : 4 * group + 4]
        sums.append((inside * block['mlp.dfc.gl1.weight'][group]).sum(1) + block['mlp.dfc.gl1.bias'][group])
    gates = F.linear(torch.stack(sums, 1), block['mlp.dfc.gate.weight'], block['mlp.dfc.gate.bias'])
    mean, std = (torch.from_numpy(values) for values in gate_moments(block))
    torch.testing.assert_close(gates.std(0), std, rtol=0.015, atol=0)
    assert ((gates.mean(0) - mean).abs() < 5 * std / math.sqrt(count)).all()

    share = gates.var(0) / gates.square().mean(0)
    found = block_statistics('blocks.0', block)
    assert found.gate_swing == pytest.approx(share.mean().item(), abs=0.01)
    assert (share - 0.1).abs().min() > 0.01, 'a sampled share must not decide by chance'
    assert found.pass_through == pytest.approx((share < 0.1).double().mean().item())


def test_gates_of_a_network_of_this_package_are_those_that_the_probe_reads() -> None:
    model = SSViT({'embed_dim': 8, 'depth': 1, 'num_heads': 2}, settings='uniform', mlp='dfc', img_size=16)
    state = model.state_dict()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    block = next(module for module in model.modules() if hasattr(module, 'norm2'))
    gates = []
    with torch.no_grad():
        block.mlp.dfc.gate.register_forward_hook(lambda module, inputs, out: gates.append(out))
        block.mlp(block.norm2.weight * torch.randn(100_000, 8) + block.norm2.bias)
    (name,) = {key.split('.norm2')[0] for key in state if '.norm2.' in key}
    mean, std = gate_moments({key.removeprefix(f'{name}.'): t for key, t in state.items() if key.startswith(name)})
    torch.testing.assert_close(gates[0].std(0).double(), torch.from_numpy(std), rtol=0.02, atol=0)
    assert ((gates[0].mean(0) - torch.from_numpy(mean)).abs() < 0.03 * torch.from_numpy(std)).all()


def test_gates_that_are_constant_let_channels_through_and_gates_of_zero_do_not() -> None:
    block = dfc_block()
    block['mlp.dfc.gate.weight'] = torch.zeros(16, 2)
    block['mlp.dfc.gate.bias'] = torch.tensor([1.0, -2.0] * 6 + [0.0] * 4)
    found = block_statistics('blocks.0', block)
    assert (found.gate_swing, found.pass_through) == (0, 0.75)


def test_gates_without_a_mean_swing_fully() -> None:
    block = {key: torch.zeros_like(t) if 'bias' in key else t for key, t in dfc_block().items()}
    found = block_statistics('blocks.0', block)
    assert (found.gate_swing, found.pass_through) == (1, 0)


def test_correlation_is_that_of_the_sizes_channel_by_channel() -> None:
    block = dfc_block()
    found = block_statistics('blocks.0', block)
    gl1, gl2 = (block[f'mlp.dfc.{name}.weight'].flatten().abs().tolist() for name in ('gl1', 'gl2'))
    a, b = sum(gl1) / 16, sum(gl2) / 16
    product = sum((x - a) * (y - b) for x, y in zip(gl1, gl2, strict=True))
    norms = sum((x - a) ** 2 for x in gl1) * sum((y - b) ** 2 for y in gl2)
    assert found.correlation == pytest.approx(product / math.sqrt(norms))
    block['mlp.dfc.gl2.weight'] = torch.full((4, 4), 0.1)
    assert block_statistics('blocks.0', block).correlation == 0
    block['mlp.dfc.gl2.weight'] = -3 * block['mlp.dfc.gl1.weight'].reshape(4, 4)
    assert block_statistics('blocks.0', block).correlation == pytest.approx(1)


# --- observations


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of the two shares of weights that are not above a value."""
    return max(abs(float((a <= x).mean() - (b <= x).mean())) for x in (*a, *b))


def test_distances_between_blocks() -> None:
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=300), 7 * generator.normal(size=200), generator.random(400)]
    scaled = [w / math.sqrt((w**2).mean()) for w in weights]
    found = between_blocks(weights)
    for i in range(3):
        for j in range(3):
            assert found.values[i, j] == pytest.approx(distance(scaled[i], scaled[j]))
    assert found.above.tolist() == [[False, False, True], [False, False, True], [True, True, False]]
    assert str(found) == '2 of 3 pairs'


def test_weights_of_other_sizes_alone_are_at_no_distance() -> None:
    found = between_blocks([np.full(96, 0.1), np.full(192, 0.7), np.full(96, 1.0)])
    assert not found.values.any() and not found.above.any()
    assert between_layers({'blocks.0': (np.full(96, 0.1), np.zeros(96))}) == {'blocks.0': (1.0, True)}
    assert between_layers({'blocks.0': (np.zeros(96), np.zeros(96))}) == {'blocks.0': (0.0, False)}


def test_slopes_are_found_beyond_three_standard_errors() -> None:
    block = dfc_block(4, 400)
    block['mlp.dfc.gl1.weight'] = torch.linspace(1, 2, 400).reshape(2, 200) + 0.1 * torch.randn(2, 200)
    block['mlp.dfc.gl2.weight'] = torch.ones(4, 100)
    blocks = [block_statistics('blocks.0', block)]
    assert steep(blocks) == [('blocks.0', 'GL1')]
    gl1, gl2 = block['mlp.dfc.gl1.weight'].numpy().ravel(), np.ones(400)
    distances = {'GL1': between_blocks([gl1]), 'GL2': between_blocks([gl2])}
    text = ' '.join(sentences(blocks, distances, {'blocks.0': (0.5, True)}).values())
    assert '1 of 2 slopes are beyond 3 standard errors: GL1 of blocks.0.' in text
    assert '0.0054 of 2' in text and 'In 1 of 1 blocks' in text and 'pairs' not in text


# --- the tool


class Page(HTMLParser):
    """What a page refers to, what it says, and whether its tags fit together."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources, self.words, self.tags, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str]]) -> None:
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ('src', 'href')]
        if tag not in ('meta', 'img'):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope='module')
def probed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[State]]:
    """The folder that a probe of a training's folder made, and the weights by epoch."""
    torch.manual_seed(0)
    work = tmp_path_factory.mktemp('work')
    states = [network(prefix='backbone.') for _ in range(3)]
    for epoch, state in zip((2, 9, 10), states, strict=True):  # by name 10 comes before 2
        save_epoch(work, epoch, state)
    out = work.parent / 'probe'
    assert commands.run('probe', [str(work), str(out)]) == 0
    return out, states


def test_a_folder_of_epochs_becomes_numbers_in_the_order_of_time(probed: tuple[Path, list[State]]) -> None:
    out, states = probed
    record = read_record(out / 'probe.json')
    assert record.config == CONFIG
    assert [shot.epoch for shot in record.snapshots] == [2, 9, 10]
    assert [shot.checkpoint for shot in record.snapshots] == ['epoch_2.pth', 'epoch_9.pth', 'epoch_10.pth']
    for shot, state in zip(record.snapshots, states, strict=True):
        assert [block.name for block in shot.blocks] == VIT
        for block in shot.blocks:
            start = f'backbone.{block.name}.'
            expected = {key.removeprefix(start): t for key, t in state.items() if key.startswith(start)}
            assert block == block_statistics(block.name, expected)
            assert (block.dim, block.hidden) == (4, 16)
            gl1 = plainly(expected['mlp.dfc.gl1.weight'].double().flatten().tolist())
            assert vars(block.gl1) == pytest.approx(vars(gl1))


def test_the_report_is_one_file_with_all_pictures(probed: tuple[Path, list[State]]) -> None:
    out = probed[0]
    assert {file.name for file in out.iterdir()} == PICTURES | {'training.png', 'probe.json', 'report.html'}
    text = (out / 'report.html').read_text(encoding='utf-8')
    page = Page(text)
    assert not page.open
    assert len(text) < 5e6 and 'http' not in text and 'url(' not in text and '@import' not in text
    assert 'script' not in page.tags and CONFIG in page.words, 'the text of a config is no part of the page'
    pictures = {(out / name).read_bytes() for name in PICTURES | {'training.png'}}
    assert {b64decode(source.removeprefix('data:image/png;base64,')) for source in page.sources} == pictures
    for picture in pictures:
        assert picture.startswith(b'\x89PNG') and len(picture) < 1e6
        width, height = struct.unpack('>II', picture[16:24])
        assert 1000 < width < 1600 and 200 < height < 1600
    words = ' '.join(' '.join(page.words).split())
    for said in ('epoch_10.pth', 'blocks.2', 'independent entries of mean 0 and variance 1', 'interchangeable'):
        assert said in words
    assert 'kernel' not in words, 'there is no convolution'


def test_the_report_has_every_number(probed: tuple[Path, list[State]]) -> None:
    out = probed[0]
    words = Page((out / 'report.html').read_text(encoding='utf-8')).words
    for block in read_record(out / 'probe.json').last.blocks:
        for layer in (block.gl1, block.gl2):
            assert f'{layer.slope:.3f} ± {layer.slope_error:.3f}' in words
            assert {f'{x:.3f}' for x in (layer.sparsity, layer.effective_share, layer.balance)} <= set(words)
        assert {f'{x:.3f}' for x in (block.gate_swing, block.pass_through, block.correlation)} <= set(words)


def test_a_single_plain_state_dict(run: Run, tmp_path: Path) -> None:
    names = ['stages.0.blocks.0', 'stages.1.blocks.0', 'stages.1.blocks.1']
    save_file(network(names, conv=True), tmp_path / 'weights.safetensors')
    (tmp_path / 'out').mkdir()  # empty
    code, said = run(tmp_path / 'weights.safetensors', tmp_path / 'out')
    assert code == 0, said
    assert 'Do depths differ?' in said and f'{tmp_path / "out" / "report.html"}: 3 blocks' in said
    record = read_record(tmp_path / 'out' / 'probe.json')
    assert record.config is None and record.last.epoch is None and len(record.snapshots) == 1
    assert [block.name for block in record.last.blocks] == names
    assert {file.name for file in (tmp_path / 'out').iterdir()} == PICTURES | {'probe.json', 'report.html'}
    report = (tmp_path / 'out' / 'report.html').read_text(encoding='utf-8')
    assert 'kernel' in report and 'not in the file' in report


@pytest.fixture
def series(monkeypatch: pytest.MonkeyPatch, run: Run) -> Callable[..., list[tuple[str, int | None]]]:
    """The order of the snapshots of a call, without drawing."""

    def call(*arguments: object) -> list[tuple[str, int | None]]:
        seen = []

        def contents(series: Series) -> tuple[dict[str, bytes], dict[str, str]]:
            seen.extend((shot.checkpoint, shot.epoch) for shot in series.record.snapshots)
            return {}, {}

        monkeypatch.setattr(report, 'contents', contents)
        code, said = run(*arguments)
        assert code == 0, said
        return seen

    return call


def test_earlier_checkpoints_are_ordered_by_epoch_where_all_have_one(
    series: Callable[..., list], tmp_path: Path
) -> None:
    last, middle, first = (save_epoch(tmp_path, e, name=f'{n}.pth') for n, e in (('a', 9), ('b', 5), ('c', 1)))
    expected = [('c.pth', 1), ('b.pth', 5), ('a.pth', 9)]
    assert series(last, tmp_path / 'one', '--earlier', middle, first) == expected
    torch.save(network(), tmp_path / 'none.pth')
    found = series(last, tmp_path / 'two', '--earlier', middle, tmp_path / 'none.pth', first)
    assert [name for name, _ in found] == ['b.pth', 'none.pth', 'c.pth', 'a.pth']


def test_the_epoch_may_stand_in_the_name_alone(series: Callable[..., list], tmp_path: Path) -> None:
    for epoch in (2, 10):
        torch.save(network(), tmp_path / f'epoch_{epoch}.pth')
    (tmp_path / 'epoch_best.pth').write_bytes(b'')
    assert series(tmp_path, tmp_path / 'out') == [('epoch_2.pth', 2), ('epoch_10.pth', 10)]


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    average, raw = network(), network()
    key = 'blocks.0.mlp.fc1.bias'
    for number, content in enumerate(
        (
            {'state_dict': raw, 'state_dict_ema': average},  # timm
            {'model': raw, 'model_ema': {f'module.{k}': v for k, v in average.items()}},  # DeiT
            {'state_dict': average, 'ema_state_dict': raw, 'meta': {'epoch': 3}},  # mmengine
            {'state_dict': {k: v.requires_grad_() for k, v in average.items()}},
        )
    ):
        file = tmp_path / f'{number}.pth'
        torch.save(content, file)
        assert torch.equal(read(str(file)).blocks['blocks.0'][key.removeprefix('blocks.0.')], average[key])


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.model.backbone.', 'blocky.'])
def test_blocks_are_found_under_any_prefix_in_the_order_of_depth(tmp_path: Path, prefix: str) -> None:
    stages = ['stages.0.blocks.0', *[f'stages.1.blocks.{i}' for i in range(11)]]
    plain = [f'blocks.{i}' for i in range(12)]
    for number, names in enumerate((stages, plain)):
        file = tmp_path / f'{number}.pth'
        torch.save(dict(reversed(network(names, prefix).items())), file)
        assert list(read(str(file)).blocks) == names


def test_numbers_of_half_precision_are_computed_in_double(tmp_path: Path) -> None:
    state = network()
    torch.save({key: tensor.bfloat16() for key, tensor in state.items()}, tmp_path / 'half.pth')
    block = read(str(tmp_path / 'half.pth')).blocks['blocks.1']
    expected = {key: tensor.bfloat16().double() for key, tensor in block.items()}
    assert block_statistics('blocks.1', block) == block_statistics('blocks.1', expected)


# --- what cannot be probed


def changed(change: Callable[[State], object]) -> Callable[[Path], Path]:
    """How to write a checkpoint that differs from a good one."""

    def write(folder: Path) -> Path:
        state = network()
        change(state)
        torch.save(state, folder / 'bad.pth')
        return folder / 'bad.pth'

    return write


def without(*keys: str) -> Callable[[Path], Path]:
    return changed(lambda state: [state.pop(key) for key in list(state) if key.startswith(keys)])


def with_values(key: str, *values: float) -> Callable[[State], None]:
    def change(state: State) -> None:
        state[key].view(-1)[: len(values)] = torch.tensor(values)

    return change


def reshaped(key: str, *shape: int) -> Callable[[Path], Path]:
    return changed(lambda state: state.update({key: torch.ones(*shape)}))


BAD = {
    'no DFC': (changed(lambda s: [s.pop(k) for k in list(s) if '.dfc.' in k]), 'no DFC', "mlp='dfc'", 'dfc_deit_'),
    'NaN': (changed(with_values('blocks.1.norm2.bias', math.nan, math.inf)), 'blocks.1.norm2.bias has 2 of 4', 'NaN'),
    'whole numbers': (
        changed(lambda s: s.update({k: v.long() for k, v in s.items()})),
        'torch.int64',
        'floating-point',
    ),
    'no values': (
        changed(lambda s: s.update({k: v.to('meta') for k, v in s.items()})),
        'is on the meta device, without numbers',
    ),
    'a lost gate': (without('blocks.2.mlp.dfc.gate.bias'), 'lacks blocks.2.mlp.dfc.gate.bias'),
    'a lost GL1': (without('blocks.0.mlp.dfc.gl1'), 'lacks blocks.0.mlp.dfc.gl1.weight, blocks.0.mlp.dfc.gl1.bias'),
    'a block without DFC': (without('blocks.1.mlp.dfc.'), 'lacks blocks.1.mlp.dfc.gl1.weight'),
    'a lost block': (without('blocks.1.'), 'lacks blocks.1.'),
    'folded': (without('blocks.1.norm2.'), 'blocks.1.norm2.weight', 'folded'),
    'half a convolution': (reshaped('blocks.0.mlp.dwconv.weight', 16, 1, 3, 3), 'lacks blocks.0.mlp.dwconv.bias'),
    'a gate of another shape': (reshaped('blocks.0.mlp.dfc.gate.weight', 16, 3), 'gate.weight is (16, 3)', '(16, 2)'),
    'GL1 of another size': (reshaped('blocks.0.mlp.dfc.gl1.weight', 2, 9), 'gl1.weight is (2, 9) and must be (2, 8)'),
    'a first linear of another size': (reshaped('blocks.0.mlp.fc1.weight', 18, 4), 'fc1.weight is (18, 4)', '(H, C)'),
    'a first linear without rows': (reshaped('blocks.0.mlp.fc1.weight', 16), 'fc1.weight is (16,)', '(H, C)'),
    'two networks': (changed(lambda s: s.update(network(prefix='teacher.'))), 'DFC in 2 networks', 'teacher.'),
    'other names': (changed(lambda s: (s.clear(), s.update({'layer.mlp.dfc.x': torch.ones(1)}))), 'DFC in 0 networks'),
    'overflow': (changed(lambda s: s.update({k: v.double() * 1e200 for k, v in s.items()})), 'overflow'),
    'missing': (lambda folder: folder / 'none.pth', 'none.pth does not exist'),
    'damaged': (lambda folder: (folder / 'x.pth').write_bytes(b'PK\x03\x04broken') and folder / 'x.pth', 'x.pth'),
    'a folder of others': (lambda folder: save_epoch(folder, 3, name='iter_9.pth').parent, 'no epoch_*.pth', 'iter_9'),
}


@pytest.mark.parametrize('case', BAD)
def test_what_cannot_be_probed_is_said(run: Run, tmp_path: Path, case: str) -> None:
    (tmp_path / 'in').mkdir()
    write, *said = BAD[case]
    code, text = run(write(tmp_path / 'in'), tmp_path / 'out')
    assert code == 2, text
    assert text.startswith('ss-backbones probe: ') and all(words in text for words in said), text
    assert not (tmp_path / 'out').exists()


def test_checkpoints_of_other_networks_are_refused(run: Run, tmp_path: Path) -> None:
    torch.save(network(), tmp_path / 'last.pth')
    torch.save(network(dim=8, hidden=16), tmp_path / 'wider.pth')
    torch.save(network(VIT[:2]), tmp_path / 'shallower.pth')
    for other, said in (('wider', 'blocks.0.norm2.weight of (4,)'), ('shallower', 'blocks.0, blocks.1, blocks.2')):
        code, text = run(tmp_path / 'last.pth', tmp_path / 'out', '--earlier', tmp_path / f'{other}.pth')
        assert code == 2 and 'different networks' in text and said in text, text


def test_earlier_checkpoints_that_cannot_be_are_refused(run: Run, tmp_path: Path) -> None:
    early, late = save_epoch(tmp_path, 1), save_epoch(tmp_path, 2)
    for arguments, said in (
        ((tmp_path, tmp_path / 'out', '--earlier', early), 'is a folder'),
        ((early, tmp_path / 'out', '--earlier', late), 'epoch_2.pth is given as an earlier checkpoint'),
        ((late, tmp_path / 'out', '--earlier', early, late), 'given twice'),
        ((late, tmp_path / 'out', '--earlier'), 'expected at least one argument'),
    ):
        code, text = run(*arguments)
        assert code == 2 and said in text, text
    assert not (tmp_path / 'out').exists()


def test_nothing_is_written_over(run: Run, tmp_path: Path) -> None:
    file = save_epoch(tmp_path, 1)
    full = tmp_path / 'full'
    full.mkdir()
    (full / 'notes.txt').write_text('mine')
    for out, said in (
        (full, 'is a folder with something in it'),
        (file, 'exists already'),
        (tmp_path / 'none' / 'out', 'no folder'),
        (file / 'out', 'no folder'),
    ):
        code, text = run(file, out)
        assert code == 2 and said in text, text
    assert [p.name for p in full.iterdir()] == ['notes.txt']


@pytest.mark.parametrize('made', [False, True])
@pytest.mark.parametrize(
    'error, code, said',
    [(OutputError('the disk is full.'), 2, 'the disk is full.'), (KeyboardInterrupt(), 130, 'stopped.')],
)
def test_what_fails_while_writing_leaves_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: bool, error: BaseException, code: int, said: str
) -> None:
    out, new_file = tmp_path / 'out', command.new_file

    def fail_at_the_report(file: Path) -> object:
        if file.name == 'report.html':
            raise error
        return new_file(file)

    monkeypatch.setattr(report, 'contents', lambda *_: ({'a.png': b'1', 'report.html': b'2'}, {}))
    monkeypatch.setattr(command, 'new_file', fail_at_the_report)
    if made:
        out.mkdir()
    file = save_epoch(tmp_path, 1)
    assert run(file, out) == (code, f'ss-backbones probe: {said}\n')
    assert out.exists() == made
    assert not made or not list(out.iterdir())


def test_a_missing_package_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.startswith('ss_backbones.probing')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr('ss_backbones.probing')
    monkeypatch.setitem(sys.modules, 'scipy.stats', None)
    code, text = run(save_epoch(tmp_path, 1), tmp_path / 'out')
    assert code == 2 and text.startswith('ss-backbones probe: ') and 'scipy' in text and 'nstall' in text
    assert not (tmp_path / 'out').exists()


def test_the_numbers_are_json_of_the_records_kind(probed: tuple[Path, list[State]]) -> None:
    data = json.loads((probed[0] / 'probe.json').read_text(encoding='utf-8'))
    assert data['format'] == 'ss_backbones probe 2' and len(data['snapshots']) == 3
