"""The state-dict keys of other projects' checkpoints, turned into this package's."""

import re
from collections.abc import Mapping

from torch import Tensor

StateDict = dict[str, Tensor]


def to_own_keys(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Rename the keys of whai362/PVT and of OpenMMLab's PVT and ViT to this package's; others are left alone."""
    if any(_MM_VIT_LAYER.match(key) for key in state_dict):
        return {_from_mm_vit(key): value for key, value in state_dict.items()}
    weights: StateDict = {}
    for key, value in state_dict.items():
        new = _WHAI_STAGE.sub(_whai_key, key)
        new = new.replace('.mlp.dwconv.dwconv.', '.mlp.dwconv.')
        match = _MM_LAYER.match(new)
        if match is None:
            weights[new] = value
            continue
        stage, part, rest = int(match[1]), match[2], match[3]
        if part == '0':
            where = f'stages.{stage}.downsample.' if stage else 'patch_embed.'
            weights[where + rest.replace('projection.', 'proj.')] = value
        elif part == '2':
            weights[f'stages.{stage}.norm.{rest}'] = value
        else:
            weights.update(_from_mm_block(f'stages.{stage}.blocks.{rest}', value))
    return weights


_WHAI_STAGE = re.compile(r'^(patch_embed|block|norm)([1-9])\.')
_MM_LAYER = re.compile(r'^layers\.(\d+)\.([012])\.(.+)$')
_MM_FFN = {'ffn.layers.0.': 'mlp.fc1.', 'ffn.layers.1.': 'mlp.dwconv.', 'ffn.layers.4.': 'mlp.fc2.'}


# of mmsegmentation and mmpretrain; mmsegmentation's attention is torch's own
_MM_VIT_LAYER = re.compile(r'^layers\.(\d+)\.(?=ln\d\.|attn\.|ffn\.)')
_MM_VIT = {
    '.ln1.': '.norm1.',
    '.ln2.': '.norm2.',
    '.attn.attn.in_proj_': '.attn.qkv.',
    '.attn.attn.out_proj.': '.attn.proj.',
    '.ffn.layers.0.0.': '.mlp.fc1.',
    '.ffn.layers.1.': '.mlp.fc2.',
}


def _from_mm_vit(key: str) -> str:
    if not _MM_VIT_LAYER.match(key):
        key = key.replace('patch_embed.projection.', 'patch_embed.proj.')
        return f'norm.{key.removeprefix("ln1.")}' if key.startswith('ln1.') else key
    key = _MM_VIT_LAYER.sub(r'blocks.\1.', key)
    for theirs, ours in _MM_VIT.items():
        key = key.replace(theirs, ours)
    return key


def _whai_key(match: re.Match[str]) -> str:
    stage = int(match[2]) - 1
    if match[1] == 'patch_embed':
        return f'stages.{stage}.downsample.' if stage else 'patch_embed.'
    return f'stages.{stage}.' + ('blocks.' if match[1] == 'block' else 'norm.')


def _from_mm_block(key: str, value: Tensor) -> StateDict:
    for theirs, ours in _MM_FFN.items():
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
