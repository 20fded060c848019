"""Ramps in biases, converted to the official code's layout: in its own tensors, and the network computes the same."""

from pathlib import Path

import pytest
import reference
import timm
import torch
from reference import needs_reference
from small_networks import Small, noisy, outputs, simplest
from tool_call import call_command
from torch import Tensor, nn

from ss_backbones import SSPVTv2, load_weights
from ss_backbones.checkpoints.conversion import convert
from ss_backbones.settings import specific_setting

IN_BIASES = ('bias', 'none')
LIKE_OFFICIAL = ['ss_pvt_v2_b0', 'ss_vit_tiny_patch16_224']


def trained(model: nn.Module) -> nn.Module:
    return noisy(model).double().eval()


def written(model: nn.Module, folder: Path, layout: str = 'official', **options: bool) -> tuple[Path, str]:
    """A model's weights in another layout, and what was said."""
    torch.save(model.state_dict(), folder / 'given.pth')
    return folder / 'out', str(convert(folder / 'given.pth', folder / 'out', layout, **options))


def difference(model: nn.Module, other: nn.Module) -> float:
    """In units of the outputs' size."""
    x = torch.randn(2, 3, 40, 33, dtype=torch.float64)
    with torch.no_grad():
        pairs = zip(outputs(model, x), outputs(other, x), strict=True)
        return max((a - b).abs().max().item() / a.abs().max().item() for a, b in pairs)


def state(file: Path) -> dict[str, Tensor]:
    return torch.load(file, weights_only=True)['model']


@simplest
@pytest.mark.parametrize('ramp', IN_BIASES)
def test_what_is_written_computes_the_same(make: Small, ramp: str, tmp_path: Path) -> None:
    model = trained(make(ramp=ramp))
    out, said = written(model, tmp_path)
    assert 'were in biases and are in mlp.pos_bias now' in said and 'the outputs are the same.' in said
    paper = make(ramp='paper').double().eval()
    report = load_weights(paper, out)
    assert not (report.adapted or report.not_loaded or report.unexpected)  # it is as the official code has it
    assert difference(model, paper) < 1e-12
    for key, value in state(out).items():
        if 'mlp.' not in key:
            assert torch.equal(value, model.state_dict()[key])
    back = make(ramp=ramp).double().eval()
    load_weights(back, out)
    assert difference(model, back) < 1e-12


@needs_reference
@pytest.mark.parametrize('ramp', IN_BIASES)
@pytest.mark.parametrize('name', LIKE_OFFICIAL)
def test_the_keys_and_shapes_are_the_official_ones(name: str, ramp: str, tmp_path: Path) -> None:
    model = timm.create_model(name, ramp=ramp)
    found = state(written(model, tmp_path)[0])
    assert {key: list(value.shape) for key, value in found.items()} == reference.keys_and_shapes(name)


@pytest.mark.parametrize('name', LIKE_OFFICIAL)
def test_the_ramp_is_the_papers_and_rounding_is_told(name: str, tmp_path: Path) -> None:
    model = noisy(timm.create_model(name, ramp='bias', num_classes=3)).eval()
    out, said = written(model, tmp_path)
    lost = float(said.rpartition(' by up to ')[2].rstrip('.\n'))
    assert 1e-9 < lost < 1e-5 and 'no known network' not in said
    paper = timm.create_model(name, num_classes=3).eval()
    assert load_weights(paper, out).share == 1
    exact = 0.0
    for (key, ours), theirs in zip(paper.named_modules(), model.modules(), strict=True):
        if not getattr(theirs, 'ramp', 0):
            continue
        inner = theirs.hidden - theirs.bypass
        assert torch.equal(ours.pos_bias[:inner], ours.expected_ramp()[:inner]), key
        if theirs.bypass:
            assert torch.equal(ours.pos_bias[inner:], theirs.bypass_bias)
        moved = ours.fc2.bias.double() + ours.fc2.weight.double() @ ours.pos_bias[:inner].double()
        exact = max(exact, (moved - theirs.fc2.bias.double()).abs().max().item())
    assert lost == pytest.approx(exact, rel=0.06)  # it is told with two digits


def test_settings_that_are_not_known(tmp_path: Path) -> None:
    """The official code takes pos_bias as it is in the file, whatever it computes itself at the start."""
    arch = dict(embed_dims=(8, 16), depths=(1, 2), num_heads=(1, 2), sr_ratios=(4, 2), mlp_ratios=(2, 2))
    settings = [dict(pos_scale=0.5), dict(pos_scale=1.3, mlp_split=0.5), dict(pos_scale=2)]
    options = dict(arch=arch, out_indices=(0, 1))
    model = trained(SSPVTv2(settings=[dict(item, ramp='bias') for item in settings], **options))
    out, said = written(model, tmp_path)
    assert 'no known network, so the ramps of 3 blocks are those of the paper for 3 blocks' in said
    official = SSPVTv2(settings=settings, **options).double().eval()
    official.load_state_dict(state(out))  # torch's own, strict
    assert difference(model, official) < 1e-12
    for mlp, rule in zip((block.mlp for block in official.all_blocks()), specific_setting(3), strict=True):
        assert mlp.pos_bias[mlp.hidden - mlp.bypass - 1] == pytest.approx(
            rule.pos_scale * (mlp.hidden - mlp.bypass - 1) / (mlp.hidden - 1)
        )


def test_what_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for ramp, layout in (('bias', 'timm'), ('bias', 'openmmlab'), ('paper', 'official')):
        folder = tmp_path / f'{ramp}-{layout}'
        folder.mkdir()
        model = timm.create_model('ss_pvt_v2_b0', ramp=ramp, num_classes=2)
        out, said = written(model, folder, layout, safetensors=True)
        assert 'were in biases' not in said
        other = timm.create_model('ss_pvt_v2_b0', ramp=ramp, num_classes=2)
        assert load_weights(other, out).share == 1
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    given = tmp_path / 'bias-timm/given.pth'
    code, said = call_command('convert', [given, tmp_path / 'b.pth', '--to', 'official'], capsys)
    assert code == 0 and 'The ramps of 4 blocks were in biases and are in mlp.pos_bias now' in said
