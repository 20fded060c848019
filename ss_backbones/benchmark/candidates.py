"""From a candidate's name to its network.

A name is a network and, after colons, options. Own networks are those of the catalog, by short name ('b0', 'vit-tiny')
or timm's, and those of configs ('NAME.py', 'ss_backbones::NAME.py'); peers are 'timm:NAME' and 'mmdet:PVTv2-b0'.
"""

import copy
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import timm
import torch
from torch import Tensor, nn

from ..deploy import fold
from ..errors import UsageError
from ..networks.catalog import PRESETS, Preset, short_names
from ..networks.columnar import ColumnarNetwork
from .names import is_own, split
from .peers import MMDET, build_mmdet, build_timm, check_mmdet, check_timm
from .plan import Plan, Shape


@dataclass(frozen=True)
class Candidate:
    """A network that can be measured, with what a new process needs to build it as well.

    Args:
        name: What the user called it.
        own: It is none of the peers.
        build: Makes the network for images of a shape, with random weights and without drop path. It returns maps, or
            a classifier's output where there are none.
    """

    name: str
    own: bool
    build: Callable[[Shape], nn.Module]


def own_networks() -> dict[str, Preset]:
    """The catalog, by short names and by timm's."""
    return {name: Preset(name, network, arch) for name, (network, arch) in short_names().items()} | PRESETS


def find(name: str, plan: Plan) -> Candidate:
    """The candidate of a name.

    Raises:
        UsageError: It cannot take part; the text says why.
    """
    network, options = split(name)
    recompute, folded = 'cp' in options, 'folded' in options
    possible = ('cp', 'folded')
    if network.endswith('.py'):  # whose settings are its own
        if plan.detector:
            raise UsageError(f'{network}: --detector makes detectors around archs and peers, not around configs.')
        build = partial(_build_config, network, recompute)
        if (channels := build(Shape(1, 1, 1)).in_channels) != 3:
            raise UsageError(f'{network}: its images have {channels} channels, and those that are measured have 3.')
    elif is_own(network):
        if network not in (own := own_networks()):
            raise UsageError(f'there is no candidate {network!r}{_hint(network, list(own))}.')
        possible = ('uniform', 'dfc', 'bias', *possible)
        plain = {'settings': 'uniform'} if {'uniform', 'dfc'} & {*options} else {}
        preset = replace(own[network], **plain, **({'mlp': 'dfc'} if 'dfc' in options else {}))
        preset = replace(preset, ramp='bias') if 'bias' in options else preset
        build = partial(_build_own, preset, recompute, plan.detector)
    elif network.startswith('timm:'):
        check_timm(network, plan.detector)
        possible = ('cp',)
        build = partial(build_timm, network, recompute)
    else:
        check_mmdet(network)
        possible = ()
        build = partial(build_mmdet, network)
    for option in options:
        if option not in possible:
            there = f'Possible here: :{", :".join(possible)}' if possible else 'It can have none'
            raise UsageError(f"{name!r} has the unknown option ':{option}'. {there}.")
        if options.count(option) > 1:
            raise UsageError(f"{name!r} has the option ':{option}' more than once; give it once.")
    if recompute and plan.mode != 'train':
        raise UsageError(f"{name!r}: ':cp' changes the backward pass alone; it needs --mode train.")
    if folded and plan.mode != 'infer':
        raise UsageError(f'{name!r}: a folded model cannot be trained; measure it with --mode infer.')
    return Candidate(name, is_own(name), partial(_build_folded, build) if folded else build)


def with_folded(name: str) -> list[str]:
    """The candidate and, of an own one that is not folded, its folded form."""
    return [name, f'{name}:folded'] if is_own(name) and 'folded' not in split(name)[1] else [name]


def _hint(network: str, own: Sequence[str]) -> str:
    """What was meant, or else what there is."""
    word = network.lower()
    if timm.is_model(word) and word not in own:
        return f'; perhaps timm:{word}'
    peers = {name.removeprefix('mmdet:').lower(): name for name in MMDET}
    meant = {name: name for name in own} | peers | {'timm': 'timm:NAME', 'mmdet': 'mmdet:NAME'}
    if near := difflib.get_close_matches(word, meant, 1):
        return f'; perhaps {meant[near[0]]}'
    return f". There are {', '.join(own)}, configs, and peers, whose names begin with 'timm:' or 'mmdet:'"


def _build_own(preset: Preset, recompute: bool, detector: bool, shape: Shape) -> nn.Module:
    options = {'pyramid': True} if issubclass(preset.network, ColumnarNetwork) else {}
    if detector:
        options |= _of_detectors(preset)
    network = preset.build(drop_path_rate=0.0, with_cp=recompute, **options)
    network.register_forward_hook(_contiguous)
    return network


def _contiguous(_: nn.Module, inputs: object, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Maps as OpenMMLab's operators and the peers have them; making them so takes time that has to be counted."""
    return tuple(m.contiguous() for m in maps)


def _build_folded(build: Callable[[Shape], nn.Module], shape: Shape) -> nn.Module:
    return fold(build(shape).eval())


def _of_detectors(preset: Preset) -> dict[str, object]:
    """What this package's Mask R-CNN config of the arch says besides, such as windows; nothing where there is none."""
    from ..openmmlab.configs import find_config, read_config

    name = f'mask-rcnn_ss-{preset.network.short_name}{preset.arch}_fpn_1x_coco.py'
    try:
        path = find_config(f'ss_backbones::mask_rcnn/{name}')
    except UsageError:
        return {}
    own = {'type', 'arch', 'settings', 'mlp', 'drop_path_rate', 'init_cfg'}
    return {key: value for key, value in read_config(path, {}).model.backbone.items() if key not in own}


def _build_config(path: str, recompute: bool, shape: Shape) -> nn.Module:
    """The backbone of a config, or its classifier.

    Raises:
        UsageError: The config cannot be read, or its backbone is none of this package, or cannot be built.
    """
    from ..openmmlab.backbone_building import build_backbone, own_class
    from ..openmmlab.configs import library_of, read_config

    config = read_config(path, {}, custom_imports=True)
    backbone = dict((config.get('model') or {}).get('backbone') or {})
    if backbone.get('name') not in PRESETS and own_class(backbone) is None:
        raise UsageError(
            f'{path}: its backbone is none of this package ({backbone.get("name") or backbone.get("type")}); give '
            'others as timm:NAME or mmdet:NAME.'
        )
    backbone['drop_path_rate'] = 0.0
    backbone.pop('init_cfg', None)
    try:
        network = build_backbone(backbone, library_of(config))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f'{path}: {error}') from error
    for module in network.modules():
        if hasattr(module, 'with_cp'):
            module.with_cp = recompute
    return network


def outputs(model: nn.Module, shape: Shape) -> list[tuple[int, ...]]:
    """The shapes (C, H, W) of what an image gives, or (N,) from a classifier; the model is left as it is."""
    twin = copy.deepcopy(model).to('meta').eval()  # where nothing is computed
    with torch.no_grad():
        found = twin(torch.empty(1, 3, shape.height, shape.width, device='meta'))
    channels_last = is_channels_last(model)
    shapes = [tuple(x.shape[1:]) for x in ([found] if isinstance(found, Tensor) else found)]
    return [(c, h, w) for h, w, c in shapes] if channels_last else shapes


def is_channels_last(model: nn.Module) -> bool:
    """Whether the maps of a timm model are (B, H, W, C)."""
    return getattr(getattr(model, 'output_fmt', None), 'value', 'NCHW') == 'NHWC'


def describe(shapes: Sequence[tuple[int, ...]], shape: Shape) -> str:
    """What a network returns, in words: '4 maps, strides 4 8 16 32'."""
    if len(shapes[0]) == 1:
        return f'no maps: a classifier of {shapes[0][0]} classes'
    strides = [str(round(shape.height / height)) for _, height, _ in shapes]
    return f'{len(shapes)} map{"s" * (len(shapes) > 1)}, strides {" ".join(strides)}'
