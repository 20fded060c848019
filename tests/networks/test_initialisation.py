"""Networks built without values get them by init_weights, or from a state dict."""

import pytest
import torch
from small_networks import Small, every_network, noisy, outputs
from torch import nn

from ss_backbones import CheckpointError, load_weights
from ss_backbones.layers import Mlp


def without_values(make: Small) -> nn.Module:
    """On the CPU, with whatever stood in the memory before: here the worst that could."""
    with torch.device('meta'):
        model = make()
    model.to_empty(device='cpu')
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data.fill_(float('nan') if tensor.is_floating_point() else 7)
    return model


@every_network
def test_init_weights_gives_what_the_constructor_gives(make: Small) -> None:
    model, built = without_values(make), make()
    model.init_weights()
    again = make()
    assert model.state_dict().keys() == built.state_dict().keys()
    for key, value in built.state_dict().items():
        ours = model.state_dict()[key]
        if torch.equal(value, again.state_dict()[key]):  # a ramp, a scale of 1, a bias of 0
            assert torch.equal(ours, value), key
            continue
        assert not torch.equal(ours, value) and ours.isfinite().all(), key
        spread = value.std().item(), ours.std().item()
        count = value.numel()
        assert spread[1] == pytest.approx(spread[0], rel=6 / count**0.5), key
        assert abs(ours.mean() - value.mean()) < 8 * spread[0] / count**0.5, key
    ramps = [m for m in model.modules() if isinstance(m, Mlp) and m.ramp]
    assert len(ramps) == sum(setting.pos_scale > 0 for setting in model.settings)
    assert bool(ramps) == (make.options.get('settings') != 'uniform')
    for mlp in ramps:
        ramp = mlp.ramp * torch.arange(mlp.hidden) / (mlp.hidden - 1)
        if make.options.get('ramp') != 'bias':
            torch.testing.assert_close(mlp.pos_bias, ramp)
            assert mlp.bypass_bias is None and not mlp.fc2.bias.any()
            continue
        assert mlp.pos_bias.shape == (0,)
        torch.testing.assert_close(mlp.fc2.bias, mlp.fc2.weight @ ramp[: mlp.hidden - mlp.bypass])
        assert (mlp.bypass_bias is None) == (mlp.bypass == 0)
        if mlp.bypass:
            torch.testing.assert_close(mlp.bypass_bias, ramp[-mlp.bypass :])


@every_network
def test_a_network_without_values_takes_its_own_state_dict(make: Small) -> None:
    source, x = noisy(make()).eval(), torch.randn(1, 3, 40, 40)
    for load in (lambda m, weights: m.load_state_dict(weights), load_weights):
        model = without_values(make).eval()
        load(model, source.state_dict())
        with torch.no_grad():
            assert all(torch.equal(a, b) for a, b in zip(outputs(model, x), outputs(source, x), strict=True))
        assert not [k for k, v in model.state_dict().items() if not torch.equal(v, source.state_dict()[k])]


@every_network
def test_a_network_on_the_meta_device_is_not_filled(make: Small) -> None:
    with torch.device('meta'):
        model = make()
    with pytest.raises(CheckpointError, match='meta'):
        load_weights(model, make().state_dict())
    model.load_state_dict(make().state_dict(), assign=True)
    assert not [key for key, value in model.state_dict().items() if value.is_meta]
