"""torch.fx follows the networks, so that extractors of features work; torch.jit.script is refused in words."""

import pytest
import timm
import torch
from small_networks import Small, every_backbone, every_classifier, noisy
from table import SMALL
from timm.models import FeatureGraphNet
from torch import Tensor
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from ss_backbones.networks import PRESETS


def image(height: int = 64, width: int = 64) -> Tensor:
    return torch.randn(2, 3, height, width, dtype=torch.float64)


def as_maps(node: Tensor, height: int, width: int, stride: int) -> Tensor:
    """The tokens of a block, the class token, if any, first, as a map; a stage's map as it is."""
    if node.ndim == 4:
        return node
    grid = -(-height // stride), -(-width // stride)
    return node[:, -grid[0] * grid[1] :].transpose(1, 2).unflatten(2, grid)


@pytest.mark.parametrize('training', [False, True])
@every_classifier
def test_extracted_features_are_those_of_the_model(make: Small, training: bool) -> None:
    model = noisy(make()).double().train(training)
    taken = [0, len(model.feature_info) - 1]
    nodes = {model.feature_info[i]['module']: str(i) for i in taken}
    extractor = create_feature_extractor(model, {**nodes, 'head': 'logits'})
    graph = FeatureGraphNet(model, taken)
    for size in ((64, 64), (50, 90)):
        x = image(*size)
        _, wanted = model.forward_intermediates(x, indices=taken)
        found = extractor(x)
        torch.testing.assert_close(found.pop('logits'), model(x))
        probes = [torch.randn_like(m) for m in wanted]
        results = []
        for maps in (wanted, found.values(), graph(x)):
            maps = [as_maps(m, *size, model.feature_info[i]['reduction']) for m, i in zip(maps, taken, strict=True)]
            loss = sum((m * probe).sum() for m, probe in zip(maps, probes, strict=True))
            grads = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
            results.append((maps, [g for g in grads if g is not None]))
        torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(results[2], results[0], rtol=1e-9, atol=1e-9)


@every_classifier
def test_the_layers_are_nodes(make: Small) -> None:
    model = make()
    leaves = {name: m for name, m in model.named_modules() if not list(m.children())}
    # torch.fx goes into layers that are none of torch's
    layers = {name for name, m in leaves.items() if list(m.parameters()) and type(m).__module__.startswith('torch.nn')}
    # positions are no layer, and what follows the hidden features may be computed at once
    layers = {name for name in layers if name and not name.endswith('.fc2') and '.dfc.' not in name}
    for nodes in get_graph_node_names(model):
        assert not layers - set(nodes)


@every_backbone
def test_a_traced_backbone_gives_the_same_maps(make: Small) -> None:
    model = noisy(make()).double().eval()
    graph = torch.fx.symbolic_trace(model)
    for size in ((64, 64), (50, 90)):
        x = image(*size)
        torch.testing.assert_close(graph(x), model(x), rtol=1e-10, atol=1e-10)


ANY_DEPTH = [preset for preset in PRESETS.values() if preset.settings in ('specific', 'uniform')]


@pytest.mark.parametrize('name', {preset.network: preset.name for preset in ANY_DEPTH}.values())
def test_timms_features_by_fx(name: str) -> None:
    small = next(iter(SMALL[PRESETS[name].network].values()))
    options = dict(settings=PRESETS[name].settings, out_indices=(1, 3)) | small
    ours = timm.create_model(name, features_only=True, **options).eval()
    by_fx = timm.create_model(name, features_only=True, feature_cls='fx', **options).eval()
    assert by_fx.feature_info.channels() == ours.feature_info.channels()
    assert len(by_fx(image().float())) == 2


@every_classifier
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_scripting_is_refused_in_words(make: Small) -> None:
    with pytest.raises(NotImplementedError, match='cannot be scripted.*Take torch.jit.trace, torch.compile'):
        torch.jit.script(make())
