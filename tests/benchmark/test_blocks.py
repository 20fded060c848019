"""What is shown of every block: its sizes, its multiply-adds against formulas and a count by layers, and the clock."""

import itertools
from types import SimpleNamespace

import pytest
import timm
import torch
from small_networks import DFC, PLAIN, SIMPLEST, Small, classifier_on_meta, simplest
from timm.models.cait import ClassAttn
from torch import Tensor, nn

from ss_backbones.benchmark import blocks, steps
from ss_backbones.benchmark.blocks import Cost, block_rows, costs, count_blocks, time_blocks
from ss_backbones.complexity import complexity
from ss_backbones.layers import UfoClassAttention
from ss_backbones.layers.linear_attention import HeadLinear
from ss_backbones.networks import Network


@simplest
def test_rows_are_what_the_settings_say(make: Small) -> None:
    network = make()
    rows = block_rows(network)
    assert len(rows) == len(network.settings) > 1
    for row, setting in zip(rows, network.settings, strict=True):
        block = network.get_submodule(row.name)
        assert block.norm1.weight.shape == block.norm2.weight.shape == (row.dim,)
        heads, each = row.heads
        assert row.attention_width == heads * each == heads * int(row.dim // heads * setting.attn_ratio)
        assert (row.hidden, row.mlp_bypass) == (int(row.dim * setting.mlp_ratio), int(row.dim * setting.mlp_split))
        # the shapes of the weights say the same
        assert block.mlp.fc2.weight.shape == (row.dim - row.mlp_bypass, row.hidden - row.mlp_bypass)
        assert block.attn.proj.weight.shape == (row.dim, row.attention_width)
        told = (row.act, row.ramp, row.ramp_as, row.token_bypass, row.mixer)
        assert told == (setting.act, setting.pos_scale, setting.ramp, setting.attn_split, setting.mixer)


def test_a_learned_activation_is_called_by_its_name() -> None:
    rows = block_rows(SIMPLEST[0](**DFC))
    assert {(row.act, row.ramp, row.mlp_bypass) for row in rows} == {('DFC', 0.0, 0)}


def test_stages_have_names_and_blocks_short_ones() -> None:
    staged = [row for row in block_rows(classifier_on_meta('ss_pvt_v2_b2')) if row.name == 'stages.2.blocks.5']
    assert [(row.stage, row.short_name) for row in staged] == [('stages.2.blocks', '2.5')]
    assert block_rows(classifier_on_meta('ss_vit_tiny_patch16_224'))[3].short_name == '3'


def _mlp(tokens: int, dim: int, hidden: int, bypass: int, conv: bool) -> int:
    return tokens * (dim * hidden + 9 * hidden * conv + (hidden - bypass) * (dim - bypass))


def test_multiply_adds_of_vit_follow_from_its_formula() -> None:
    tokens, dim = 197, 192
    expected = []
    for width, hidden, bypass, kept in ((96, 576, 0, 197), (144, 672, 0, 197), (192, 768, 0, 197), (192, 768, 96, 148)):
        attention = tokens * dim * 3 * width + 2 * tokens * tokens * width + kept * width * dim
        expected.append(attention + _mlp(tokens, dim, hidden, bypass, conv=False))
    found = count_blocks(classifier_on_meta('ss_vit_tiny_patch16_224'), 224, 224)
    assert [found[i] for i in (0, 1, 2, 11)] == expected
    stem, head = 196 * 3 * 16 * 16 * dim, dim * 1000
    assert found[-2:] == [stem + head, sum(found[:12]) + stem + head]


def test_multiply_adds_of_pvt_follow_from_its_formula() -> None:
    def block(side: int, dim: int, width: int, reduced: int, hidden: int, bypass: int) -> int:
        tokens, keys = side * side, (side // reduced) ** 2
        reducing = keys * reduced * reduced * dim * dim if reduced > 1 else 0
        attention = tokens * dim * width + reducing + keys * dim * 2 * width + 2 * tokens * keys * width
        return attention + tokens * width * dim + _mlp(tokens, dim, hidden, bypass, conv=True)

    found = count_blocks(classifier_on_meta('ss_pvt_v2_b2'), 224, 224)
    plain = count_blocks(classifier_on_meta('ss_pvt_v2_b2', settings='uniform'), 224, 224)
    assert [found[i] for i in (0, 15)] == [block(56, 64, 32, 8, 192, 0), block(7, 512, 512, 1, 2048, 256)]
    assert [plain[i] for i in (0, 15)] == [block(56, 64, 64, 8, 512, 0), block(7, 512, 512, 1, 2048, 0)]


def test_multiply_adds_of_swin_follow_from_its_formula() -> None:
    def block(side: int, dim: int, width: int, hidden: int, bypass: int, kept: int) -> int:
        windows, area = (side // 7) ** 2, 49
        each = area * dim * 3 * width + 2 * area * area * width + kept * width * dim
        return windows * each + _mlp(side * side, dim, hidden, bypass, conv=False)

    found = count_blocks(classifier_on_meta('ss_swin_tiny_patch4_window7_224'), 224, 224)
    assert [found[i] for i in (0, 11)] == [block(56, 96, 48, 288, 0, 49), block(7, 768, 768, 3072, 384, 37)]


def _outside(network: Network, x: Tensor) -> int:
    """Multiply-adds of the layers that stand in no block, by hooks on each."""
    inside = {layer for block in network.all_blocks() for layer in block.modules()}
    found = []

    def count(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        # a transposed convolution multiplies every input by its kernel, all others make every output by theirs
        many = given[0].numel() if isinstance(layer, nn.ConvTranspose2d) else out.numel()
        found.append(many * layer.weight[0].numel())

    for layer in set(network.modules()) - inside:
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(count)
        elif isinstance(layer, ClassAttn):  # of one query with all keys, and with all values
            layer.register_forward_hook(lambda _, given, out: found.append(2 * given[0].shape[1] * out.numel()))
        elif isinstance(layer, HeadLinear):
            layer.register_forward_hook(lambda m, given, out: found.append(out.numel() * m.weight.shape[2]))
        elif isinstance(layer, UfoClassAttention):  # keys by values, and one query by that
            layer.register_forward_hook(lambda m, given, out: found.append((given[0].shape[1] + 1) * 16 * m.head_dim))
    with torch.no_grad():
        network(x)
    return sum(found)


@simplest
def test_what_is_outside_of_the_blocks_is_the_rest(make: Small) -> None:
    network = make().eval()
    *inside, outside, total = count_blocks(network, 64, 96)
    assert total == complexity(network, (1, 3, 64, 96)).macs == sum(inside) + outside
    assert outside == _outside(network, torch.randn(1, 3, 64, 96))
    assert min(inside) > 0


@simplest
def test_costs_stand_beside_the_plain_twin(make: Small) -> None:
    network, plain = make().eval(), make(**PLAIN).eval()
    of_blocks, outside, total = costs(network, plain, 64, 64)
    *inside, rest, everything = count_blocks(plain, 64, 64)
    assert [cost.plain_macs for cost in (*of_blocks, outside, total)] == [*inside, rest, everything]
    assert of_blocks[-1].macs_ratio == of_blocks[-1].macs / inside[-1] < 1 and outside.macs_ratio == 1
    assert {cost.time_ratio for cost in of_blocks} == {None}
    timed, *_ = costs(network, plain, 64, 64, count=2)
    assert [cost.macs for cost in timed] == [cost.macs for cost in of_blocks]
    assert all(cost.seconds > 0 and cost.plain_seconds > 0 and cost.time_ratio > 0 for cost in timed)


def test_ratio_over_nothing() -> None:
    assert Cost(5, 0).macs_ratio is None


def test_the_clock_runs_inside_of_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that goes on by 1 whenever somebody looks at it."""
    clock = SimpleNamespace(perf_counter=itertools.count().__next__)
    for module in (blocks, steps):
        monkeypatch.setattr(module, 'time', clock)
    network = SIMPLEST[0]().eval()
    count = len(network.all_blocks())
    times = time_blocks({'a': network, 'b': SIMPLEST[-1]().eval()}, 64, 64, 3)
    assert times['a'].blocks.shape == (3, count) and set(times['a'].blocks.flat) == {1}
    assert times['a'].total.tolist() == [2 * count + 1] * 3
    assert times['a'].parts[-2:].tolist() == [[count + 1] * 3, [2 * count + 1] * 3]
    # and nothing is left of it
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in network.all_blocks())


def test_ratios_are_those_of_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    network = timm.create_model('ss_pvt_v2_b0').eval()
    own = blocks.Times(torch.tensor([[1.0], [9.0], [3.0]]).numpy(), torch.tensor([2.0, 10.0, 4.0]).numpy())
    plain = blocks.Times(torch.tensor([[2.0], [6.0], [30.0]]).numpy(), torch.tensor([4.0, 8.0, 40.0]).numpy())
    monkeypatch.setattr(blocks, 'time_blocks', lambda *_: {'own': own, 'plain': plain})
    monkeypatch.setattr(blocks, 'count_blocks', lambda *_: [1, 0, 1])
    (block,), outside, total = costs(network, network, 64, 64, count=3)
    assert (block.seconds, block.plain_seconds) == (3.0, 6.0)
    assert block.time_ratio == pytest.approx(0.5)  # of 0.5, 1.5 and 0.1
    assert (outside.seconds, total.time_ratio) == (1.0, pytest.approx(0.5))
