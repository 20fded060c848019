"""What SPViT's search has found, as settings of ViT and Swin, and what both families need for its checkpoints.

Source: He et al., "Pruning Self-attentions into Convolutional Layers in Single Path", TPAMI 2024; the choices are those
of the official code's configurations and released widths.
"""

import re

import torch

from ..errors import CheckpointError
from ..layers import FusedConvMixer, HeadMixing, SharedConvMixer
from ..layers.conv_mixer import fuse_tensors, norm_name
from ..settings import BlockSetting
from .arguments import NamedSettings
from .base import Network, StateDict

MIXERS = ('attention', 'conv3x3', 'conv1x1', 'skip')
COMPUTED_KEYS = ('.assigned_indicator_index',)  # which hidden units of a wider MLP were kept


def _named(arch: str, mixers: str, hidden: str) -> NamedSettings:
    """Settings from the mixers of all blocks, '2*skip' for two, and their hidden widths."""
    words: list[str] = []
    for run in mixers.split():
        count, _, word = run.rpartition('*')
        words += [word] * int(count or 1)
    blocks = zip(words, map(int, hidden.split()), strict=True)
    return NamedSettings(arch, tuple(BlockSetting(mixer=mixer, hidden=width) for mixer, width in blocks))


DEIT: dict[str, NamedSettings] = {
    'spvit_deit_ti_l200_t10': _named(
        'tiny',
        '2*conv1x1 10*attention',
        '744 758 764 767 766 764 756 659 633 473 179 145',
    ),
    'spvit_deit_sm_l30_t32': _named(
        'small',
        'conv1x1 11*attention',
        '1304 1399 1344 1214 1251 1183 1140 925 742 391 104 103',
    ),
    'spvit_deit_bs_l008_t60': _named(
        'base',
        '3*conv1x1 2*conv3x3 7*attention',
        '1118 489 1050 1345 1336 1326 1431 1564 1606 1702 1290 190',
    ),
    'spvit_deit_bs_l006_t100': _named(
        'base',
        '3*conv1x1 conv3x3 8*attention',
        '1253 610 1343 1912 2354 2306 2483 2753 2869 2860 2443 934',
    ),
}
DEIT_MIXING = HeadMixing(0.01)
SWIN: dict[str, NamedSettings] = {
    'spvit_swin_t_l28_t32': _named(
        'tiny',
        'conv1x1 skip conv1x1 skip 8*attention',
        '186 152 646 504 1350 1319 1289 1249 1234 1082 3041 2994',
    ),
    'spvit_swin_sm_l04_t55': _named(
        'small',
        'conv1x1 skip 14*attention skip conv1x1 2*attention 2*skip 2*attention',
        '188 209 748 680 1159 1260 1127 1036 919 916 868 918 903 937 961 1037 1063 996 888 866 741 509 3064 3051',
    ),
    'spvit_swin_bs_l01_t100': _named(
        'base',
        'attention skip 9*attention skip 6*attention skip conv1x1 attention skip 2*attention',
        '311 303 1011 980 1763 1673 1636 1523 1410 1377 1332 1345 1440 1426 1400 1315 1371 1321 1324 1265 1127 734 '
        '3572 2931',
    ),
}
# the official Swin stores the centre first; what the official code fuses with, DeiT's numbers, is not what it computes
SWIN_MIXING = HeadMixing(100.0, (1, 2, 3, 4, 0, 5, 6, 7, 8))

_QK = re.compile(r'^(.*\.attn\.)qk\.(weight|bias)$')
_QKV = re.compile(r'^(.*\.attn\.)qkv\.(weight|bias)$')
_THRESHOLDS = '.attn.kernel_thresholds_full'  # Swin's name of what a search learns
_CONV = ('.attn.head_probs', '.attn.bconv.0.weight')


def from_official(weights: StateDict) -> StateDict:
    """The keys of SPViT's checkpoints, whose attention has a layer for queries and keys, and one for values."""
    ours: StateDict = {}
    joined: set[str] = set()
    for theirs, value in weights.items():
        key = theirs.removesuffix('_full') if theirs.endswith(_THRESHOLDS) else theirs
        match = _QK.match(key)
        values = weights.get(f'{match[1]}v.{match[2]}') if match else None
        if values is None or values.shape[1:] != value.shape[1:] or not value.ndim == values.ndim > 0:
            ours[key] = value
            continue
        ours[f'{match[1]}qkv.{match[2]}'] = torch.cat((value, values))
        joined.add(f'{match[1]}v.{match[2]}')
    return {key: value for key, value in ours.items() if key not in joined}


def to_official(weights: StateDict) -> StateDict:
    """The other way round, for weights with convolution mixers."""
    if not any(key.endswith(_CONV) for key in weights):
        return weights
    theirs: StateDict = {}
    for key, value in weights.items():
        if match := _QKV.match(key):
            width = value.shape[0] // 3
            theirs[f'{match[1]}qk.{match[2]}'] = value[: 2 * width].clone()
            theirs[f'{match[1]}v.{match[2]}'] = value[2 * width :].clone()
        else:
            theirs[key] = value
    return theirs


def fuse_weights(weights: StateDict, network: Network) -> list[str]:
    """Fuse convolution mixers in a set of weights for a network that has them fused.

    Args:
        weights: In this package's keys; changed.
        network: The network.

    Returns:
        What was done, in words.

    Raises:
        CheckpointError: They are fused already, and the network needs what they were fused from.
    """
    done = []
    for name, mixer in network.named_modules():
        start = f'{name}.'
        if isinstance(mixer, SharedConvMixer) and f'{start}bconv.0.weight' in weights:
            raise CheckpointError(
                f'The checkpoint has fused convolutions ({start}bconv), from which the weights that this network is '
                'trained with cannot be had again. Build the network with fused=True, or take the checkpoint from '
                'before fusing. Nothing was loaded.'
            )
        if not isinstance(mixer, FusedConvMixer):
            continue
        theirs = {key.removeprefix(start): value for key, value in weights.items() if key.startswith(start)}
        theirs = {key: value for key, value in theirs.items() if key.startswith(_parts_of(mixer))}
        if not _can_be_fused(theirs, mixer):
            continue
        for key in theirs:
            del weights[start + key]
        fused = fuse_tensors(theirs, mixer.side, network.head_mixing)
        weights.update({start + key: value for key, value in fused.items()})
        done.append(f'{start}bconv (fused)')
    return done


def _parts_of(mixer: FusedConvMixer) -> tuple[str, ...]:
    """Starts of the keys that such a mixer has before it is fused."""
    return ('head_probs', 'v.', 'proj.', f'{norm_name(mixer.side)}.')


def _can_be_fused(tensors: StateDict, mixer: FusedConvMixer) -> bool:
    """Whether these are the weights of such a mixer before it was fused."""
    width, dim = mixer.bconv[0].out_channels, mixer.bconv[0].in_channels
    shapes = {
        'head_probs': (dim // width, 9),
        'v.weight': (dim, dim),
        'v.bias': (dim,),
        'proj.weight': (dim, dim),
        'proj.bias': (dim,),
        f'{norm_name(mixer.side)}.weight': (width,),
    }
    return all(name in tensors and tensors[name].shape == shape for name, shape in shapes.items())
