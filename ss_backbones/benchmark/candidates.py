"""From a contestant's name to its network.

A name is a network and, after colons, options. Own networks are the archs of SSPVTv2 ('b0') and, after 'vit-', those of
SSViT ('vit-tiny'), and configs ('NAME.py'); peers are 'timm:NAME' and 'mmdet:PVTv2-b0'.
"""

import copy
import difflib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import timm
import torch
from torch import nn

import ss_backbones
from ..networks.pvt_v2 import ARCHS as PVT_V2_ARCHS
from ..networks.vit import ARCHS as VIT_ARCHS

from .config_network import build_config, check_config, is_config
from .peers import MMDET, build_mmdet, build_timm, check_mmdet, check_timm
from .plan import Plan, Shape

VIT_CONFIG = Path(__file__).resolve().parents[2] / 'configs/mask_rcnn/mask-rcnn_ss-vit-tiny_fpn_1x_coco.py'
OWN = (*PVT_V2_ARCHS, *(f'vit-{arch}' for arch in VIT_ARCHS))
OWN_OPTIONS = ('uniform', 'dfc', 'cp', 'folded')
CONFIG_OPTIONS = ('cp', 'folded')  # its settings are its own
PEER_OPTIONS = ('cp',)
SPELLINGS = {
    **{name: name for name in OWN},
    **{f'ss_pvt_v2_{arch}': arch for arch in PVT_V2_ARCHS},  # what timm calls them
    **{f'ss_vit_{arch}': f'vit-{arch}' for arch in VIT_ARCHS},
    **{name.removeprefix('mmdet:').lower(): name for name in MMDET},
    **{'timm': 'timm:NAME', 'mmdet': 'mmdet:NAME'},
}
NAMES = (
    f"own: {', '.join(OWN)}, each with ':uniform' (its plain twin), ':dfc' (the twin with DFC MLPs), ':cp' "
    "(activations recomputed in the backward pass), ':folded' (ss_backbones.fold); a config of "
    "this package, NAME.py, with ':cp' and ':folded'; peers: timm:NAME, also with ':cp', "
    f'and {", ".join(MMDET)}'
)


def is_own(name: str) -> bool:
    return not name.startswith(('timm:', 'mmdet:'))


def split(name: str) -> tuple[str, list[str]]:
    """The network, with 'timm:' or 'mmdet:' before a peer's, and the options."""
    words = name.split(':')
    start = 1 if is_own(name) else 2
    return ':'.join(words[:start]), words[start:]


def check(name: str, plan: Plan) -> None:
    """Find out whether a contestant can take part, before anything is measured.

    Raises:
        ValueError: It cannot; the text says why.
    """
    network, options = split(name)
    if is_config(network):
        check_config(network, plan.detector)
    elif is_own(network):
        if network not in OWN:
            raise ValueError(f'there is no contestant {network!r}{_hint(network)}; --help lists all')
        if not hasattr(ss_backbones, 'SSPVTv2'):
            raise ValueError(f'{name!r} needs mmengine, which cannot be imported here. Install it as the README says')
    elif network.startswith('timm:'):
        check_timm(network, plan.detector)
    else:
        check_mmdet(network)
    _check_options(name, options, _possible_options(network))
    if 'cp' in options and network.startswith('mmdet:'):
        raise ValueError(f"{name!r}: mmdet's PVTv2 cannot recompute activations; leave ':cp' out")
    if 'cp' in options and plan.mode != 'train':
        raise ValueError(f"{name!r}: ':cp' changes the backward pass alone; it needs --mode train")
    if 'folded' in options:
        if plan.mode != 'infer':
            raise ValueError(f'{name!r}: a folded model cannot be trained; measure it with --mode infer')
        if not hasattr(ss_backbones, 'fold'):
            raise ValueError(f'{name!r}: this version of ss_backbones has no fold(), so nothing can be folded')


def _possible_options(network: str) -> Sequence[str]:
    if is_config(network):
        return CONFIG_OPTIONS
    return OWN_OPTIONS if is_own(network) else PEER_OPTIONS


def with_folded(name: str) -> list[str]:
    """The contestant and, of an own one that is not folded, its folded form."""
    return [name, f'{name}:folded'] if is_own(name) and 'folded' not in split(name)[1] else [name]


def _hint(network: str) -> str:
    """What was meant, or else what there is."""
    word = network.lower()
    if not word.startswith('ss_') and timm.is_model(word):  # timm has the own models too
        return f'; perhaps timm:{word}'
    if near := difflib.get_close_matches(word, SPELLINGS, 1):
        return f'; perhaps {SPELLINGS[near[0]]}'
    return f". There are {', '.join(OWN)}, and peers, whose names begin with 'timm:' or 'mmdet:'"


def _check_options(name: str, options: Sequence[str], possible: Sequence[str]) -> None:
    for option in options:
        if option not in possible:
            raise ValueError(f"{name!r} has the unknown option ':{option}'. Possible here: :{', :'.join(possible)}")
        if options.count(option) > 1:
            raise ValueError(f"{name!r} has the option ':{option}' more than once; give it once")


def build(name: str, shape: Shape, plan: Plan) -> nn.Module:
    """The network of a checked name, for images of a shape, with random weights and without drop path.

    It returns maps, or a classifier's output where a timm model has none. In a detector an own ViT has the windows of
    this repository's detector configs.
    """
    network, options = split(name)
    if network.startswith('timm:'):
        return build_timm(network, shape, recompute='cp' in options)
    if network.startswith('mmdet:'):
        return build_mmdet(network)
    recompute = 'cp' in options
    if is_config(network):
        model = build_config(network, recompute)
    else:
        mlp = 'dfc' if 'dfc' in options else 'standard'
        settings = 'uniform' if {'uniform', 'dfc'} & {*options} else 'specific'
        if network.startswith('vit-'):
            make = partial(ss_backbones.SSViT, network.removeprefix('vit-'), **(_windows() if plan.detector else {}))
        else:
            make = partial(ss_backbones.SSPVTv2, network)
        model = make(settings, mlp=mlp, drop_path_rate=0.0, with_cp=recompute)
    return ss_backbones.fold(model.eval()) if 'folded' in options else model


def _windows() -> dict[str, object]:
    from mmengine.config import Config

    backbone = Config.fromfile(VIT_CONFIG).model.backbone
    return {key: backbone[key] for key in ('window_size', 'global_blocks')}


def outputs(model: nn.Module, shape: Shape) -> list[tuple[int, ...]]:
    """The shapes (C, H, W) of what an image gives, or (N,) from a classifier; the model is left as it is."""
    twin = copy.deepcopy(model).to('meta').eval()  # where nothing is computed
    with torch.no_grad():
        found = twin(torch.empty(1, 3, shape.height, shape.width, device='meta'))
    channels_last = is_channels_last(model)
    shapes = [tuple(x.shape[1:]) for x in ([found] if isinstance(found, torch.Tensor) else found)]
    return [(c, h, w) for h, w, c in shapes] if channels_last else shapes


def is_channels_last(model: nn.Module) -> bool:
    """Whether the maps of a timm model are (B, H, W, C)."""
    return getattr(getattr(model, 'output_fmt', None), 'value', 'NCHW') == 'NHWC'


def describe(shapes: list[tuple[int, ...]], shape: Shape) -> str:
    """What a network returns, in words: '4 maps, strides 4 8 16 32'."""
    if len(shapes[0]) == 1:
        return f'no maps: a classifier of {shapes[0][0]} classes'
    strides = [str(round(shape.height / height)) for _, height, _ in shapes]
    return f'{len(shapes)} map{"s" * (len(shapes) > 1)}, strides {" ".join(strides)}'
