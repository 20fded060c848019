"""The state-dict keys of other projects' checkpoints, turned into this package's."""

import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

StateDict = dict[str, Tensor]
KeyMap = Callable[[Mapping[str, Tensor]], StateDict]


def from_pvt(weights: Mapping[str, Tensor]) -> StateDict:
    """The keys of whai362/PVT's PVTv2; others are left alone."""
    return {
        _PVT_STAGE.sub(_of_pvt_stage, key).replace('.mlp.dwconv.dwconv.', '.mlp.dwconv.'): value
        for key, value in weights.items()
    }


def from_openmmlab_pvt(weights: Mapping[str, Tensor]) -> StateDict:
    """The keys of mmdetection's PVTv2; others are left alone."""
    renamed: StateDict = {}
    for key, value in weights.items():
        match = _OPENMMLAB_LAYER.match(key)
        if match is None:
            renamed[key] = value
            continue
        stage, part, rest = int(match[1]), match[2], match[3]
        if part == '0':
            where = f'stages.{stage}.downsample.' if stage else 'patch_embed.'
            renamed[where + rest.replace('projection.', 'proj.')] = value
        elif part == '2':
            renamed[f'stages.{stage}.norm.{rest}'] = value
        else:
            renamed.update(_of_openmmlab_block(f'stages.{stage}.blocks.{rest}', value))
    return renamed


def from_openmmlab_vit(weights: Mapping[str, Tensor]) -> StateDict:
    """The keys of mmsegmentation's and mmpretrain's ViT; others are left alone."""
    if not any(_OPENMMLAB_VIT_LAYER.match(key) for key in weights):
        return dict(weights)
    return {_of_openmmlab_vit(key): value for key, value in weights.items()}


KEY_MAPS: tuple[KeyMap, ...] = (from_openmmlab_vit, from_pvt, from_openmmlab_pvt)


def to_own_keys(weights: Mapping[str, Tensor], maps: Sequence[KeyMap] = KEY_MAPS) -> StateDict:
    """Rename the keys of every layout that the maps know; a new dict with the same tensors, or views of them."""
    for key_map in maps:
        weights = key_map(weights)
    return dict(weights)


_PVT_STAGE = re.compile(r'^(patch_embed|block|norm)([1-9])\.')
_OPENMMLAB_LAYER = re.compile(r'^layers\.(\d+)\.([012])\.(.+)$')
_OPENMMLAB_FFN = {'ffn.layers.0.': 'mlp.fc1.', 'ffn.layers.1.': 'mlp.dwconv.', 'ffn.layers.4.': 'mlp.fc2.'}
_OPENMMLAB_VIT_LAYER = re.compile(r'^layers\.(\d+)\.(?=ln\d\.|attn\.|ffn\.)')
_OPENMMLAB_VIT = {
    '.ln1.': '.norm1.',
    '.ln2.': '.norm2.',
    '.attn.attn.in_proj_': '.attn.qkv.',  # mmsegmentation's attention is torch's own, mmpretrain's is timm's
    '.attn.attn.out_proj.': '.attn.proj.',
    '.ffn.layers.0.0.': '.mlp.fc1.',
    '.ffn.layers.1.': '.mlp.fc2.',
}


def _of_pvt_stage(match: re.Match[str]) -> str:
    stage = int(match[2]) - 1
    if match[1] == 'patch_embed':
        return f'stages.{stage}.downsample.' if stage else 'patch_embed.'
    return f'stages.{stage}.' + ('blocks.' if match[1] == 'block' else 'norm.')


def _of_openmmlab_block(key: str, value: Tensor) -> StateDict:
    for theirs, ours in _OPENMMLAB_FFN.items():
        key = key.replace(theirs, ours)
    key = key.replace('.attn.attn.out_proj.', '.attn.proj.')
    if '.attn.attn.in_proj_' in key:
        # torch's MultiheadAttention stacks q, k and v
        q, kv = key.replace('attn.attn.in_proj_', 'attn.q.'), key.replace('attn.attn.in_proj_', 'attn.kv.')
        dim = value.shape[0] // 3
        return {q: value[:dim], kv: value[dim:]}
    if value.ndim == 4 and '.mlp.fc' in key:
        value = value.flatten(1)  # a 1 x 1 convolution is a linear layer
    return {key: value}


def _of_openmmlab_vit(key: str) -> str:
    if not _OPENMMLAB_VIT_LAYER.match(key):
        key = key.replace('patch_embed.projection.', 'patch_embed.proj.')
        return f'norm.{key.removeprefix("ln1.")}' if key.startswith('ln1.') else key
    key = _OPENMMLAB_VIT_LAYER.sub(r'blocks.\1.', key)
    for theirs, ours in _OPENMMLAB_VIT.items():
        key = key.replace(theirs, ours)
    return key
