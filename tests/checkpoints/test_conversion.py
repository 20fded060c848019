"""Checkpoints from layout to layout: nothing is lost, nothing is written over, and the report says what happened."""

import re
import resource
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

import pytest
import timm
import torch
from mmengine.hooks import EMAHook
from mmengine.logging import HistoryBuffer
from mmengine.model import ExponentialMovingAverage
from mmengine.runner.checkpoint import load_checkpoint
from other_layouts import to_pvt
from safetensors.torch import load_file, save_file
from small_networks import without_memory
from table import PVT_V2, VIT
from tool_call import call_command
from torch import Tensor, nn

from ss_backbones import CheckpointError, SSPVTv2, SSViT, load_weights
from ss_backbones.checkpoints.conversion import convert
from ss_backbones.checkpoints.identification import identify
from ss_backbones.errors import OutputError

SMALL = [row.name for row in (*PVT_V2, *VIT) if row.arch in ('b0', 'b2_li', 'tiny')]
B0 = 'ss_pvt_v2_b0'
BASE = 'ss_vit_base_patch16_'
SS, PLAIN = dict(settings='specific'), dict(settings='uniform')
PREFIX = {'timm': '', 'official': '', 'openmmlab': 'backbone.'}

Weights = dict[str, Tensor]
Tool = Callable[..., tuple[int, str]]


def network(name: str = B0, **arguments: object) -> nn.Module:
    """A model in which no two parameters are alike, so that none can pass for another."""
    model = timm.create_model(name, **{'num_classes': 10, **arguments}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def saved(content: Mapping[str, object], folder: Path, name: str = 'given.pth') -> Path:
    torch.save(content, folder / name)
    return folder / name


def read(file: Path, layout: str) -> Weights:
    """The tensors of a written file, with the keys that its layout should have taken off."""
    if file.suffix == '.safetensors':
        tensors = load_file(file)
    else:
        content = torch.load(file, weights_only=True)
        entry = {'timm': None, 'official': 'model', 'openmmlab': 'state_dict'}[layout]
        assert set(content) == {'timm': set(content), 'official': {entry}, 'openmmlab': {'meta', entry}}[layout]
        tensors = content[entry] if entry else content
    assert all(key.startswith(PREFIX[layout]) for key in tensors)
    return {key[len(PREFIX[layout]) :]: value for key, value in tensors.items()}


def assert_same_bits(ours: Weights, theirs: Mapping[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key].dtype == value.dtype and ours[key].shape == value.shape, key
        assert torch.equal(_bits(ours[key]), _bits(value)), key


def _bits(value: Tensor) -> Tensor:
    return value.detach().contiguous().view(-1).view(torch.uint8)


@pytest.mark.parametrize('settings', ['specific', 'uniform'])
@pytest.mark.parametrize('name', SMALL)
def test_there_and_back(name: str, settings: str, tmp_path: Path) -> None:
    model = network(name, settings=settings)
    weights = (model.half() if 'b2' in name else model).state_dict()  # the large one in half the bytes
    given, files, count = saved(weights, tmp_path), {}, len(weights)
    # Every layout into every other, the first from a given file; the two formats take turns.
    for i, (one, other) in enumerate([(None, layout) for layout in PREFIX] + list(product(PREFIX, PREFIX))):
        suffix = ('.pth', '.safetensors')[i % 2]
        source, out = files.get(one, given), tmp_path / f'{one}-{other}{suffix}'
        report = convert(source, out, other, safetensors=i % 2 == 1)
        assert_same_bits(read(out, other), weights)
        about = f"its only weights, {name} (settings='{settings}', 10 classes): {count} of {count} tensors match"
        beside = '\n  left out: meta' if one == 'openmmlab' else ''
        assert str(report) == f'{source}: {about}{beside}\n{out}: {count} tensors, layout {other}'
        if one is None:
            files[other] = out
        else:
            out.unlink()


def test_every_bit_and_dtype_stays(tmp_path: Path) -> None:
    weights = network().state_dict()
    kinds = (torch.float16, torch.bfloat16, torch.float64)
    for key, kind in zip(list(weights)[::7], kinds * 99, strict=False):
        weights[key] = weights[key].to(kind)
    bias = 'stages.0.norm.bias'
    assert len({value.dtype for value in weights.values()}) == 4
    # a signalling NaN, which arithmetic would change, minus zero, the smallest number, infinities
    odd = torch.tensor([0x7FA00001, -0x80000000, 1] + [0x7F800000] * 29, dtype=torch.int32)
    weights[bias] = odd.view(torch.float32)
    weights['stages.0.norm.batches'] = torch.tensor(2**40)
    weights['stages.1.blocks.0.mlp.fc1.weight'] = weights['stages.1.blocks.0.mlp.fc1.weight'].t().contiguous().t()
    given = saved(weights, tmp_path)
    for layout, suffix in product(PREFIX, ('.pth', '.safetensors')):
        out = tmp_path / (layout + suffix)
        convert(given, out, layout, safetensors=suffix == '.safetensors')
        assert_same_bits(read(out, layout), weights)


def mm_pvt() -> tuple[Weights, nn.Module]:
    theirs = pytest.importorskip('mmdet.models.backbones').PyramidVisionTransformerV2(
        embed_dims=32, num_layers=[2, 2, 2, 2]
    )
    return theirs.state_dict(), network(settings='uniform', num_classes=0)


def mm_vit() -> tuple[Weights, nn.Module]:
    theirs = pytest.importorskip('mmseg.models.backbones').VisionTransformer(
        img_size=64, embed_dims=192, num_layers=12, num_heads=3, final_norm=True, patch_bias=True
    )
    return theirs.state_dict(), network('ss_vit_tiny_patch16_224', settings='uniform', num_classes=0, img_size=64)


def pvt_repository() -> tuple[Weights, nn.Module]:
    return to_pvt(network(num_classes=0).state_dict()), network(num_classes=0)


@pytest.mark.parametrize('prefix', ['', 'module.', 'backbone.', 'module._orig_mod.backbone.'])
@pytest.mark.parametrize('make', [pvt_repository, mm_pvt, mm_vit])
def test_the_keys_of_other_projects(make: Callable[[], tuple[Weights, nn.Module]], prefix: str, tmp_path: Path) -> None:
    theirs, ours = make()
    for value in theirs.values():
        value.detach().normal_() if make is not pvt_repository else None
    given = saved({'state_dict': {prefix + key: value for key, value in theirs.items()}}, tmp_path)
    load_weights(ours, given)  # whose tests hold it against the other projects' outputs
    for layout, suffix in zip(PREFIX, ('.pth', '.safetensors', '.pth'), strict=True):
        out = tmp_path / (layout + suffix)
        report = convert(given, out, layout, safetensors=suffix == '.safetensors')
        assert report.identification.fits and 'no head' in str(report) and not report.left_out
        assert_same_bits(read(out, layout), ours.state_dict())


def of_mmengine(averaged: nn.Module, raw: nn.Module) -> dict[str, object]:
    """What mmengine's own hook makes of a classifier's checkpoint."""
    model = nn.Module()
    model.backbone = raw
    hook = EMAHook()
    hook.src_model, hook.ema_model = model, ExponentialMovingAverage(model)
    hook.ema_model.module.backbone.load_state_dict(averaged.state_dict())
    checkpoint = {
        'meta': {'epoch': 300, 'cfg': 'model = dict()'},
        'state_dict': model.state_dict(),
        'message_hub': {'log_scalars': {'train/loss': HistoryBuffer([1.0], [1])}},
        'optimizer': {'state': {}, 'param_groups': []},
        'param_schedulers': [],
    }
    hook.before_save_checkpoint(None, checkpoint)
    return checkpoint


def of_timm(averaged: nn.Module, raw: nn.Module) -> dict[str, object]:
    about = {'epoch': 3, 'arch': B0, 'optimizer': {}, 'args': Namespace(lr=1), 'version': 2}
    return {'state_dict': raw.state_dict(), 'state_dict_ema': averaged.state_dict(), **about}


def of_official(averaged: nn.Module, raw: nn.Module) -> dict[str, object]:
    about = {'epoch': 3, 'optimizer': {'state': {}}, 'lr_scheduler': {'t': 1}, 'args': Namespace(lr=1)}
    return {'model': raw.state_dict(), 'model_ema': averaged.state_dict(), **about}


def of_ddp(averaged: nn.Module, raw: nn.Module) -> dict[str, object]:
    whole = of_timm(averaged, raw)
    for key in ('state_dict', 'state_dict_ema'):
        whole[key] = {f'module._orig_mod.{k}': value for k, value in whole[key].items()}
    return whole


OTHER = {
    of_mmengine: {'raw': 'state_dict (the average)', 'average': 'ema_state_dict (the raw weights)'},
    of_timm: {'raw': 'state_dict_ema (the average)', 'average': 'state_dict (the raw weights)'},
    of_official: {'raw': 'model_ema (the average)', 'average': 'model (the raw weights)'},
    of_ddp: {'raw': 'state_dict_ema (the average)', 'average': 'state_dict (the raw weights)'},
}


@pytest.mark.parametrize('make', OTHER)
def test_the_average_or_the_raw_weights(make: Callable[..., dict[str, object]], tmp_path: Path) -> None:
    sets = {'average': network(), 'raw': network()}
    given = saved(make(sets['average'], sets['raw']), tmp_path)
    for asked, taken in ((None, 'average'), (True, 'average'), (False, 'raw')):
        out = tmp_path / f'{asked}.pth'
        report = convert(given, out, 'timm', average=asked)
        assert_same_bits(read(out, 'timm'), sets[taken].state_dict())
        said = {'average': 'the average', 'raw': 'the raw weights'}[taken]
        assert f"{said}, {B0} (settings='specific', 10 classes): 182 of 182 tensors match" in str(report)
        assert OTHER[make][taken] in report.left_out and 'optimizer' in report.left_out
        assert '  left out: ' in str(report)
    target = network()
    load_weights(target, given)
    assert_same_bits(target.state_dict(), sets['average'].state_dict())


def test_weights_that_a_file_does_not_have(tmp_path: Path) -> None:
    weights = network().state_dict()
    single = saved({'model': weights, 'epoch': 3}, tmp_path)
    with pytest.raises(CheckpointError, match='given.pth has no averaged .EMA. weights'):
        convert(single, tmp_path / 'out.pth', 'timm', average=True)
    assert convert(single, tmp_path / 'out.pth', 'timm', average=False).kind == 'its only weights'
    averaged = saved({'model_ema': weights, 'epoch': 3}, tmp_path, 'averaged.pth')
    with pytest.raises(CheckpointError, match=r'averaged.pth holds an average and no raw weights \(its entries: model'):
        convert(averaged, tmp_path / 'raw.pth', 'timm', average=False)
    assert convert(averaged, tmp_path / 'average.pth', 'timm', average=True).left_out == ('epoch',)
    assert not (tmp_path / 'raw.pth').exists()


def test_what_lies_beside_the_weights_is_named(tmp_path: Path) -> None:
    weights = network().state_dict()
    given = saved({'state_dict': {**weights, 'made_by': 'hand'}, 'model': weights, 3: 'three', 'epoch': 1}, tmp_path)
    report = convert(given, tmp_path / 'out.pth', 'timm')
    assert '\n  left out: model, 3, epoch, made_by\n' in str(report)
    assert report.kind == 'its only weights' and report.identification.fits


@pytest.fixture(scope='module')
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, nn.Module], Path]:
    """A PVTv2 and a ViT, each written in all layouts and formats."""
    folder = tmp_path_factory.mktemp('classifiers')
    models = {'pvt': network(), 'vit': network('ss_vit_tiny_patch16_224')}
    for name, model in models.items():
        given = saved({'state_dict': model.state_dict()}, folder)
        for layout, suffix in product(PREFIX, ('.pth', '.safetensors')):
            convert(given, folder / f'{name}-{layout}{suffix}', layout, safetensors=suffix == '.safetensors')
    return models, folder


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('name', ['pvt', 'vit'])
def test_the_readers_of_each_layout(name: str, suffix: str, classifiers: tuple[dict[str, nn.Module], Path]) -> None:
    models, folder = classifiers
    timm_name = {'pvt': B0, 'vit': 'ss_vit_tiny_patch16_224'}[name]
    weights = models[name].state_dict()
    for layout in ('timm', 'official'):
        file = folder / f'{name}-{layout}{suffix}'
        model = timm.create_model(timm_name, num_classes=10, checkpoint_path=str(file))
        assert_same_bits(model.state_dict(), weights)
    file = folder / f'{name}-openmmlab{suffix}'
    init_cfg = dict(type='Pretrained', checkpoint=str(file), prefix='backbone.')
    backbone = SSPVTv2('b0', init_cfg=init_cfg) if name == 'pvt' else SSViT('tiny', init_cfg=init_cfg)
    backbone.init_weights()
    for key, value in backbone.state_dict().items():
        assert key.startswith('pyramid.') or torch.equal(value, weights[key])
    for layout in PREFIX:
        target = timm.create_model(timm_name, num_classes=10)
        assert load_weights(target, folder / f'{name}-{layout}{suffix}').share == 1
        assert_same_bits(target.state_dict(), weights)
    if suffix == '.pth':  # mmengine reads no other
        classifier = nn.Module()
        classifier.backbone = timm.create_model(timm_name, num_classes=10)
        load_checkpoint(classifier, str(file), strict=True)
        assert_same_bits(classifier.backbone.state_dict(), weights)


def test_the_files_need_torch_alone(classifiers: tuple[dict[str, nn.Module], Path]) -> None:
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        for file in classifiers[1].glob('*-*.pth'):
            content = torch.load(file, weights_only=True)
            assert all(type(value) in (Tensor, dict, OrderedDict) for value in content.values())
        meta = torch.load(classifiers[1] / 'pvt-openmmlab.pth', weights_only=True)['meta']
    finally:
        torch.serialization.add_safe_globals(allowed)
    assert meta['network'] == B0 and meta['settings'] == 'specific' and meta['weights'] == 'its only weights'
    assert not any('/' in text for text in meta.values())


def test_a_detector_gives_its_backbone(tmp_path: Path) -> None:
    backbone = SSPVTv2('b0')
    weights = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    weights |= {f'neck.{i}.weight': torch.ones(1) for i in range(3)} | {'rpn_head.rpn_conv.weight': torch.ones(1)}
    given = saved({'meta': {}, 'state_dict': weights}, tmp_path)
    report = convert(given, tmp_path / 'out.pth', 'official')
    assert_same_bits(read(tmp_path / 'out.pth', 'official'), backbone.state_dict())
    assert report.left_out == ('meta', 'neck (3 tensors)', 'rpn_head (1 tensor)')
    assert "ss_pvt_v2_b0 (settings='specific', no head): 180 of 180 tensors match" in str(report)


@pytest.mark.parametrize(
    ('name', 'arguments', 'text'),
    [
        (B0, dict(SS, num_classes=3), f"{B0} (settings='specific', 3 classes)"),
        (B0, dict(SS, num_classes=0), f"{B0} (settings='specific', no head)"),
        (B0, dict(SS, in_chans=5), f"{B0} (settings='specific', 10 classes, 5 channels)"),
        ('ss_pvt_v2_b1', PLAIN, "ss_pvt_v2_b1 (settings='uniform', 10 classes)"),
        ('ss_pvt_v2_b2', PLAIN, "ss_pvt_v2_b2 (settings='uniform', 10 classes)"),
        ('pvt_v2_b2', dict(), "ss_pvt_v2_b2 (settings='uniform', 10 classes)"),
        ('deit_tiny_patch16_224', dict(), "ss_vit_tiny_patch16_224 (settings='uniform', 10 classes)"),
        (
            'ss_vit_tiny_patch16_224',
            dict(SS, img_size=96),
            "ss_vit_tiny_patch16_224 (settings='specific', 10 classes, 37 positions)",
        ),
        (BASE + '384', PLAIN, f"{BASE}384 (settings='uniform', 10 classes)"),
        (BASE + '224', PLAIN, f"{BASE}224 (settings='uniform', 10 classes)"),
        (BASE + '224', dict(PLAIN, img_size=96), f"{BASE}224 (settings='uniform', 10 classes, 37 positions)"),
    ],
)
def test_the_network_is_recognised(name: str, arguments: dict, text: str) -> None:
    # ramps have to have values
    with torch.device('cpu') if arguments.get('settings') == 'specific' else without_memory(name):
        weights = network(name, **arguments).state_dict()
    found = identify(weights, 'weights.pth')
    assert found.fits and str(found) == text and len(found.report.matched) == len(weights)


def test_a_distilled_deit_keeps_its_second_token(tmp_path: Path) -> None:
    weights = network('deit_tiny_distilled_patch16_224').state_dict()
    report = convert(saved({'model': weights}, tmp_path), tmp_path / 'out.pth', 'openmmlab')
    assert_same_bits(read(tmp_path / 'out.pth', 'openmmlab'), weights)
    assert report.identification.fits and '198 positions' in str(report)
    assert 'more than it has, kept: dist_token, head_dist.weight, head_dist.bias' in str(report)


@pytest.mark.parametrize(
    ('make', 'text'),
    [
        (
            lambda: SSPVTv2(dict(embed_dims=(16,) * 4, depths=(1,) * 4, num_heads=(1,) * 4)),
            r'nearest is ss_pvt_v2_b[01] \(.*: 0 of 17\d ',
        ),
        (
            lambda: SSPVTv2('b0', settings=[dict(pos_scale=2)] * 8),
            r'shape or ramp: (.|\n)*kept: .*blocks.0.mlp.pos_bias',
        ),
        (lambda: SSPVTv2('b0', out_indices=(0, 1)), r'nearest is ss_pvt_v2_b0 .*no head.*\n  missing: stages.2'),
    ],
    ids=['another arch', 'other settings', 'half of it'],
)
def test_networks_of_ones_own_are_converted_all_the_same(make: Callable, text: str, tmp_path: Path) -> None:
    weights = make().state_dict()
    report = convert(saved(weights, tmp_path), tmp_path / 'out.pth', 'openmmlab')
    assert not report.identification.fits and 'of no network that is known here' in str(report)
    assert re.search(text, str(report)), str(report)
    assert_same_bits(read(tmp_path / 'out.pth', 'openmmlab'), weights)
    assert 'network' not in torch.load(tmp_path / 'out.pth', weights_only=True)['meta']


def test_other_ramps_of_the_same_shapes_are_another_network(tmp_path: Path) -> None:
    weights = network().state_dict()
    ramps = [key for key in weights if key.endswith('pos_bias')]
    half = {key: value.half() for key, value in weights.items()}
    assert convert(saved(half, tmp_path), tmp_path / 'half.pth', 'timm').identification.fits
    weights[ramps[0]] = weights[ramps[0]] * 2
    report = convert(saved(weights, tmp_path), tmp_path / 'out.pth', 'timm')
    assert not report.identification.fits and f'  of another shape or ramp: {ramps[0]} (a ramp to ' in str(report)
    assert f'the nearest is {B0}' in str(report)


def test_what_has_no_name_here_is_kept_and_listed(tmp_path: Path) -> None:
    weights = {**network().state_dict(), 'extra.scale': torch.ones(3), 'stages.0.blocks.0.gamma': torch.ones(2)}
    report = convert(saved(weights, tmp_path), tmp_path / 'out.pth', 'timm')
    assert_same_bits(read(tmp_path / 'out.pth', 'timm'), weights)
    assert 'more than it has, kept: extra.scale, stages.0.blocks.0.gamma' in str(report)
    assert not report.identification.fits  # a tensor more inside a block is another network


@pytest.fixture
def tool(capsys: pytest.CaptureFixture[str]) -> Tool:
    return lambda *arguments: call_command('convert', arguments, capsys)


def test_the_tool(tool: Tool, tmp_path: Path) -> None:
    sets = {'average': network(), 'raw': network()}
    given = saved(of_official(sets['average'], sets['raw']), tmp_path)
    for flags, taken, suffix in (
        ([], 'average', '.pth'),
        (['--ema'], 'average', '.pt'),
        (['--raw'], 'raw', '.bin'),
        (['--raw', '--safetensors'], 'raw', '.safetensors'),
    ):
        out = tmp_path / f'{"".join(flags)}out{suffix}'
        code, said = tool(given, out, '--to', 'timm', *flags)
        assert code == 0 and said.startswith(f'{given}: ') and '182 of 182 tensors match' in said
        assert said.endswith(f'{out}: 182 tensors, layout timm\n')
        assert_same_bits(read(out, 'timm'), sets[taken].state_dict())


def test_the_tool_refuses(tool: Tool, tmp_path: Path) -> None:
    good = saved(network().state_dict(), tmp_path, 'good.pth')
    (tmp_path / 'cut.pth').write_bytes(good.read_bytes()[:50_000])
    (tmp_path / 'empty.pth').touch()
    saved({'epoch': 3}, tmp_path, 'bare.pth')
    saved(nn.Linear(2, 2), tmp_path, 'network.pth')
    saved({'conv1.weight': torch.ones(2), 'layer1.0.bias': torch.ones(2)}, tmp_path, 'resnet.pth')
    saved({'patch_embed.proj.bias': torch.ones(2), 'patch_embed1.proj.bias': torch.ones(2)}, tmp_path, 'mixed.pth')
    save_file({}, tmp_path / 'bare.safetensors')
    (tmp_path / 'there.pth').write_bytes(b'precious')
    (tmp_path / 'link.pth').symlink_to('nowhere')
    (tmp_path / 'same.pth').symlink_to('good.pth')
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.exists()}
    timm_ = ['--to', 'timm']
    for given, out, flags, text in (
        ('no.pth', 'out.pth', timm_, 'no.pth does not exist'),
        ('cut.pth', 'out.pth', timm_, 'cut.pth cannot be read as a checkpoint'),
        ('empty.pth', 'out.pth', timm_, 'empty.pth is empty (0 bytes)'),
        ('bare.pth', 'out.pth', timm_, 'bare.pth holds no tensors (its entries: epoch)'),
        ('bare.safetensors', 'out.pth', timm_, 'bare.safetensors holds no tensors'),
        ('network.pth', 'out.pth', timm_, 'not safe to load'),
        ('resnet.pth', 'out.pth', timm_, 'has no tensor of a network of this package; its keys start with conv1., lay'),
        ('mixed.pth', 'out.pth', timm_, 'mixed.pth mixes layouts'),
        ('.', 'out.pth', timm_, 'is a directory'),
        ('good.pth', 'there.pth', timm_, 'there.pth exists already and is never written over'),
        ('good.pth', 'link.pth', timm_, 'link.pth exists already'),
        ('good.pth', '.', timm_, 'is a folder. Give the name of a new file'),
        ('good.pth', 'good.pth', timm_, 'good.pth is the checkpoint itself'),
        ('good.pth', 'same.pth', timm_, 'same.pth is the checkpoint itself'),
        ('good.pth', 'new/out.pth', timm_, 'there is no folder'),
        ('good.pth', 'good.pth/out.pth', timm_, 'there is no folder'),
        ('good.pth', 'out.SafeTensors', timm_, 'Ask for that format with --safetensors'),
        ('good.pth', 'out.safetensors', timm_, 'Ask for that format with --safetensors'),
        ('good.pth', 'out.pth', [*timm_, '--ema'], 'good.pth has no averaged (EMA) weights'),
        ('good.pth', 'out.pth', [*timm_, '--ema', '--raw'], '--raw: not allowed with argument --ema'),
        ('good.pth', 'out.pth', ['--to', 'jax'], "--to: invalid choice: 'jax'"),
        ('good.pth', 'out.pth', [], 'the following arguments are required: --to'),
        ('good.pth', f'{"o" * 250}.pth', timm_, 'cannot be written'),
    ):
        code, said = tool(tmp_path / given, tmp_path / out, *flags)
        assert code == 2 and text in said and 'Traceback' not in said, (given, out, said)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.exists()} == before


@pytest.mark.parametrize('name', ['weights', 'weights.pth', 'weights.v1.bin', 'W.SAFETENSORS', '.safetensors'])
def test_safetensors_of_any_name(tool: Tool, name: str, tmp_path: Path) -> None:
    source, target = network(), network()
    out = tmp_path / name
    code, said = tool(saved(source.state_dict(), tmp_path), out, '--to', 'openmmlab', '--safetensors')
    assert code == 0 and 'the name has to end in .safetensors' in said, said
    assert_same_bits(load_file(out), {f'backbone.{key}': value for key, value in source.state_dict().items()})
    assert load_weights(target, out).share == 1  # by its content
    assert_same_bits(target.state_dict(), source.state_dict())
    torch.save(source.state_dict(), renamed := tmp_path / 'torch.safetensors')  # the other way round
    assert load_weights(network(), renamed).share == 1
    code, said = tool(out, tmp_path / 'again.safetensors', '--to', 'timm', '--safetensors')
    assert code == 0 and 'end in' not in said, said
    assert_same_bits(load_file(tmp_path / 'again.safetensors'), source.state_dict())


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_full_disk_leaves_nothing_behind(tool: Tool, suffix: str, tmp_path: Path) -> None:
    given = saved(network().state_dict(), tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # writing fails after a megabyte, as on a full disk
    try:
        code, said = tool(
            given, tmp_path / f'out{suffix}', '--to', 'timm', *(['--safetensors'] if suffix != '.pth' else [])
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2 and f'out{suffix} cannot be written (' in said
    assert list(tmp_path.iterdir()) == [given]


def test_a_file_that_comes_into_being_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, out = saved(network().state_dict(), tmp_path), tmp_path / 'out.pth'
    save = torch.save

    def slowly(content: object, file: object) -> None:
        save(content, file)
        assert not out.exists()  # it has its name only when it is whole
        out.write_text('of someone else')

    monkeypatch.setattr(torch, 'save', slowly)
    with pytest.raises(OutputError, match='out.pth exists already'):
        convert(given, out, 'timm')
    assert out.read_text() == 'of someone else' and len(list(tmp_path.iterdir())) == 2


def test_an_interruption_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = saved(network().state_dict(), tmp_path)

    def interrupted(content: object, file: object) -> None:
        file.write(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, 'save', interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(given, tmp_path / 'out.pth', 'timm')
    assert list(tmp_path.iterdir()) == [given]


def test_an_unknown_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="layout='jax' is unknown. Known are timm, official, openmmlab"):
        convert(saved(network().state_dict(), tmp_path), tmp_path / 'out.pth', 'jax')
    assert not (tmp_path / 'out.pth').exists()
