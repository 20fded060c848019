"""The examples of docs/own-transformer.md: what the numbers become, training, folding, and the plain twins."""

import copy
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn

from ss_backbones import fold, specific_setting, uniform_setting
from ss_backbones.complexity import complexity

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE, IN_TIMM = re.findall(
    r'^```python\n(.*?)^```', (ROOT / 'docs/own-transformer.md').read_text(), re.DOTALL | re.MULTILINE
)


def _run(text: str, name: str = 'documentation') -> SimpleNamespace:
    found = {'__name__': name}
    exec(compile(text, 'own-transformer.md', 'exec'), found)
    return SimpleNamespace(**found)


@pytest.fixture(scope='module')
def example() -> SimpleNamespace:
    return _run(EXAMPLE)


def _with_ramp(ramp: str) -> list:
    return [replace(setting, ramp=ramp) for setting in specific_setting(12)]


def test_it_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(EXAMPLE.splitlines()) < 80
    _run(EXAMPLE, '__main__')
    said = capsys.readouterr().out
    parameters, losses = zip(*re.findall(r'(\d+) parameters, loss ([\d.]+)', said), strict=True)
    assert int(parameters[0]) < int(parameters[1])
    assert max(map(float, losses)) < 1.3  # log(4) = 1.386 is knowing nothing
    assert float(re.search(r'within (\S+)', said)[1]) < 1e-5


def test_every_number_arrives(example: SimpleNamespace) -> None:
    blocks = example.SignalTransformer(_with_ramp('bias')).blocks
    first, second, middle, last = blocks[0], blocks[1], blocks[5], blocks[11]
    assert [block.attn.qkv.weight.shape[0] for block in (first, second, middle)] == [3 * 16, 3 * 24, 3 * 32]
    assert [block.mlp.fc1.weight.shape[0] for block in (first, second, middle)] == [96, 112, 128]
    assert [type(block.mlp.act) for block in (first, second, middle)] == [nn.ReLU, nn.ReLU, nn.GELU]
    assert last.mlp.fc2.weight.shape == (16, 112) and middle.mlp.fc2.weight.shape == (32, 128)
    torch.testing.assert_close(last.mlp.bypass_bias, torch.linspace(0, 2, 128)[112:])
    # the last quarter of the tokens leaves the attention as it enters the projection
    tokens = torch.randn(1, 16, 32)
    mixed, out = last.attn.mix(tokens), last.attn(tokens)
    torch.testing.assert_close(out[:, 12:], mixed[:, 12:])
    torch.testing.assert_close(out[:, :12], last.attn.proj(mixed)[:, :12])
    assert not any(block.attn.token_bypass for block in blocks[:10])


def test_the_ramp_in_biases_starts_as_the_paper_s(example: SimpleNamespace) -> None:
    models = []
    for ramp in ('paper', 'bias', 'none'):
        torch.manual_seed(0)
        models.append(example.SignalTransformer(_with_ramp(ramp)).double().eval())
    signals = torch.randn(3, 256, dtype=torch.float64)
    paper, bias, none = (model(signals) for model in models)
    # the biases are made in float32
    torch.testing.assert_close(bias, paper, rtol=1e-5, atol=1e-6)
    assert (none - paper).abs().max() > 1e-3


def test_every_parameter_learns(example: SimpleNamespace) -> None:
    model = example.SignalTransformer(_with_ramp('bias'))
    model(torch.randn(2, 256)).sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


@pytest.mark.parametrize('ramp', ['paper', 'bias'])
def test_folding_changes_no_number(example: SimpleNamespace, ramp: str) -> None:
    model = example.SignalTransformer(_with_ramp(ramp)).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    signals = torch.randn(3, 256, dtype=torch.float64)
    folded = fold(model)
    torch.testing.assert_close(folded(signals), model(signals), rtol=1e-9, atol=1e-9)
    left = ' '.join(folded.blocks.state_dict())
    assert 'mlp.fc2.bias' in left and 'norm' not in left and 'pos_bias' not in left
    with pytest.raises(RuntimeError, match='cannot be trained'):
        folded.train()


def test_the_plain_twin_is_torch_s_encoder(example: SimpleNamespace) -> None:
    model = example.SignalTransformer(uniform_setting(12)).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 16, 32, dtype=torch.float64)
    options = dict(dim_feedforward=128, activation='gelu', layer_norm_eps=1e-6, batch_first=True, norm_first=True)
    for block in model.blocks:
        layer = nn.TransformerEncoderLayer(32, 2, dropout=0.0, **options).double().eval()
        attn, mlp = block.attn, block.mlp
        for theirs, ours in (
            (layer.norm1, block.norm1),
            (layer.norm2, block.norm2),
            (layer.self_attn.out_proj, attn.proj),
            (layer.linear1, mlp.fc1),
            (layer.linear2, mlp.fc2),
        ):
            theirs.load_state_dict(ours.state_dict(), strict=False)
        with torch.no_grad():
            layer.self_attn.in_proj_weight.copy_(attn.qkv.weight)
            layer.self_attn.in_proj_bias.copy_(attn.qkv.bias)
        torch.testing.assert_close(block(x), layer(x), rtol=1e-9, atol=1e-9)


def test_timm_with_blocks_of_this_package() -> None:
    found = _run(IN_TIMM)
    model, image = found.model.eval(), torch.randn(1, 3, 224, 224)
    own = timm.create_model('vit_tiny_patch16_224').eval()
    ours, twin, theirs = (complexity(each).macs for each in (model, _plain(found, own), own))
    assert ours < twin == theirs and model(image).shape == (1, 1000)
    with torch.no_grad():
        torch.testing.assert_close(_plain(found, own)(image), own(image), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(fold(model)(image), model(image), rtol=1e-4, atol=1e-5)


def _plain(found: SimpleNamespace, own: nn.Module) -> nn.Module:
    """timm's network with plain blocks of this package, and its weights."""
    model = copy.deepcopy(own)
    model.blocks = nn.Sequential(*map(found.make_block, uniform_setting(len(own.blocks)))).eval()
    model.load_state_dict(own.state_dict())
    return model
