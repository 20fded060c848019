"""The networks that every test runs over: the catalog's, with the figures they must meet and small ones of each family.

A new network adds a line to ``FIGURES``, and one with an arch to ``SMALL`` where its family is new.
"""

from dataclasses import dataclass

from ss_backbones.networks import PRESETS, Network, PVTv2, Swin, UFOViT, ViT, XCiT

# By name: the plain twin in timm; millions of trainable parameters and GMACs at the preset's size, or else 224 x 224,
# with 1000 classes, as the preset is and with plain settings and MLPs. The plain columns are those of the published
# PVTv2, DeiT, Swin and XCiT models, the SS ones what the rule gives in the official classes, and those of DFC-DeiT
# follow from its paper's formulas. GMACs at 384 x 384 follow from ViT's and Swin's formulas, as no paper has them for
# SS. The parameters of SPViT are its paper's, and its GMACs are held against the paper's in networks/test_spvit.py. The
# official SS-XCiT makes queries of all tokens in its two blocks of class attention, and uses that of the class token
# alone: 392 C^2 multiply-adds more with patches of 16 pixels, which gives 1.161, 2.169, 4.527 and 8.465 there.
# Those with patches of 8 pixels are timm's for the plain models; for SS they are this package's own count.
# UFO-ViT's are the paper's as far as a reader's memory has them (10.0, 20.7, 37.3, 63.7 M; 1.9, 3.7, 7.0, 11.9 G): the
# first three within 1% of these counts. It has no plain twin in timm; in its place stands the XCiT that it is built on.
FIGURES: dict[str, tuple[str, float, float, float, float]] = {
    'ss_pvt_v2_b0': ('pvt_v2_b0', 3.422, 0.422, 3.667, 0.566),
    'ss_pvt_v2_b1': ('pvt_v2_b1', 13.049, 1.571, 14.009, 2.108),
    'ss_pvt_v2_b2': ('pvt_v2_b2', 22.913, 3.109, 25.363, 4.027),
    'ss_pvt_v2_b2_li': ('pvt_v2_b2_li', 20.104, 2.971, 22.554, 3.889),
    'ss_pvt_v2_b3': ('pvt_v2_b3', 42.277, 5.816, 45.239, 6.897),
    'ss_pvt_v2_b4': ('pvt_v2_b4', 58.511, 8.434, 62.556, 10.101),
    'ss_pvt_v2_b5': ('pvt_v2_b5', 78.549, 11.073, 81.956, 11.717),
    'ss_vit_tiny_patch16_224': ('deit_tiny_patch16_224', 5.329, 1.163, 5.717, 1.254),
    'ss_vit_small_patch16_224': ('deit_small_patch16_224', 20.501, 4.257, 22.051, 4.599),
    'ss_vit_base_patch16_224': ('deit_base_patch16_224', 80.371, 16.241, 86.568, 17.564),
    'ss_vit_base_patch16_384': ('deit_base_patch16_384', 80.663, 51.357, 86.859, 55.484),
    'ss_swin_tiny_patch4_window7_224': ('swin_tiny_patch4_window7_224', 25.578, 4.151, 28.288, 4.491),
    'ss_swin_small_patch4_window7_224': ('swin_small_patch4_window7_224', 46.065, 8.069, 49.606, 8.741),
    'ss_swin_base_patch4_window7_224': ('swin_base_patch4_window7_224', 81.474, 14.252, 87.768, 15.431),
    'ss_swin_base_patch4_window12_384': ('swin_base_patch4_window12_384', 81.609, 43.337, 87.904, 47.083),
    'ss_swin_base_patch4_window7_384': ('swin_base_patch4_window12_384', 81.609, 43.337, 87.904, 47.083),
    'spvit_deit_ti_l200_t10': ('deit_tiny_patch16_224', 4.873, 1.039, 5.717, 1.254),
    'spvit_deit_sm_l30_t32': ('deit_small_patch16_224', 16.117, 3.354, 22.051, 4.599),
    'spvit_deit_bs_l008_t60': ('deit_base_patch16_224', 46.208, 8.424, 86.568, 17.564),
    'spvit_deit_bs_l006_t100': ('deit_base_patch16_224', 62.256, 11.774, 86.568, 17.564),
    'spvit_swin_t_l28_t32': ('swin_tiny_patch4_window7_224', 26.306, 3.330, 28.288, 4.491),
    'spvit_swin_sm_l04_t55': ('swin_small_patch4_window7_224', 39.206, 6.138, 49.606, 8.741),
    'spvit_swin_bs_l01_t100': ('swin_base_patch4_window7_224', 68.034, 11.385, 87.768, 15.431),
    'ss_xcit_tiny_12_p16_224': ('xcit_tiny_12_p16_224', 6.328, 1.146, 6.716, 1.230),
    'ss_xcit_tiny_24_p16_224': ('xcit_tiny_24_p16_224', 11.341, 2.155, 12.117, 2.322),
    'ss_xcit_small_12_p16_224': ('xcit_small_12_p16_224', 24.703, 4.469, 26.253, 4.796),
    'ss_xcit_small_24_p16_224': ('xcit_small_24_p16_224', 44.571, 8.408, 47.671, 9.061),
    'ss_xcit_tiny_12_p8_224': ('xcit_tiny_12_p8_224', 6.319, 4.436, 6.707, 4.771),
    'ss_xcit_tiny_24_p8_224': ('xcit_tiny_24_p8_224', 11.331, 8.469, 12.107, 9.139),
    'ss_xcit_small_12_p8_224': ('xcit_small_12_p8_224', 24.663, 17.313, 26.213, 18.619),
    'ss_xcit_small_24_p8_224': ('xcit_small_24_p8_224', 44.531, 33.066, 47.631, 35.678),
    'ufo_vit_tiny_patch16_224': ('xcit_tiny_24_p16_224', 9.960, 1.917, 9.960, 1.917),
    'ufo_vit_small_patch16_224': ('xcit_small_12_p16_224', 20.834, 3.798, 20.834, 3.798),
    'ufo_vit_medium_patch16_224': ('xcit_small_24_p16_224', 37.608, 7.152, 37.608, 7.152),
    'ufo_vit_base_patch16_224': ('xcit_medium_24_p16_224', 66.505, 12.691, 66.505, 12.691),
    'dfc_deit_tiny_patch16_224': ('deit_tiny_patch16_224', 4.861, 1.083, 5.717, 1.254),
    'dfc_deit_small_patch16_224': ('deit_small_patch16_224', 18.569, 3.909, 22.051, 4.599),
    'dfc_deit_base_patch16_224': ('deit_base_patch16_224', 72.527, 14.790, 86.568, 17.564),
}

# Networks of few channels for what any arch would show: first each family's simplest, then what it has of its own.
_PVT = dict(embed_dims=(16, 32, 40, 64), depths=(2, 2, 2, 2))
_VIT = dict(embed_dim=16, depth=6, num_heads=2)
_SWIN = dict(embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4))
_XCIT = dict(embed_dim=16, depth=6, num_heads=2)
_MIXED = [
    dict(mixer='conv3x3', hidden=17),
    dict(mixer='conv1x1'),
    dict(mixer='skip', act='ReLU', hidden=40),
    dict(pos_scale=1.0, mlp_split=0.5, hidden=50),
    dict(mixer='conv3x3', mlp_split=0.25, pos_scale=2.0),
    dict(attn_split=0.25),
]
SMALL: dict[type[Network], dict[str, dict[str, object]]] = {
    PVTv2: {
        'pvt': dict(arch=_PVT),
        'pvt linear': dict(arch=dict(_PVT, linear=True)),
        'pvt ufo': dict(arch=_PVT, linear_stages=(0, 1)),
    },
    Swin: {
        'swin': dict(arch=_SWIN, img_size=64, window_size=4),
        'swin oblong': dict(arch=dict(_SWIN, depths=(1, 3, 2, 2)), img_size=(224, 160), window_size=(3, 5)),
        'swin mixers': dict(arch=_SWIN, img_size=64, window_size=4, settings=[dict(mixer='skip'), {}, *_MIXED]),
        'swin fused mixers': dict(
            arch=_SWIN, img_size=64, window_size=4, settings=[*_MIXED, dict(mixer='conv1x1'), {}], fused=True
        ),
    },
    ViT: {
        'vit': dict(arch=_VIT, img_size=64),
        'vit windows': dict(arch=_VIT, img_size=64, window_size=3, global_blocks=(2, -1)),
        'vit ufo': dict(arch=_VIT, img_size=64, linear_blocks=(0, 1, 3, -1)),
        'vit mixers': dict(arch=_VIT, img_size=64, settings=_MIXED),
        'vit fused mixers': dict(arch=_VIT, img_size=64, settings=_MIXED, fused=True),
    },
    UFOViT: {
        'ufo': dict(arch=_XCIT, settings='specific'),
        'ufo other readings': dict(
            arch=_XCIT, settings='specific', full_projections=True, kv_axis='value', local_end=True, patch_size=8
        ),
    },
    XCiT: {
        'xcit': dict(arch=_XCIT),
        'xcit p8': dict(arch=dict(_XCIT, depth=7, layer_scale=0.1), patch_size=8),
        'xcit linear': dict(arch=_XCIT, linear_blocks=(0, 1, -1)),
    },
}
# And those that backbones alone have.
SMALL_BACKBONES: dict[type[Network], dict[str, dict[str, object]]] = {
    ViT: {
        'vit blocks': dict(arch=_VIT, img_size=64, pyramid=False),
        'vit without class token': dict(arch=_VIT, img_size=64, class_token=False, window_size=2),
        'vit pyramid of blocks': dict(arch=_VIT, img_size=64, pyramid='blocks'),
        'vit mixers without class token': dict(arch=_VIT, img_size=64, class_token=False, settings=_MIXED),
    },
    XCiT: {
        'xcit simple pyramid': dict(arch=_XCIT, pyramid='simple'),
        'xcit blocks': dict(arch=_XCIT, pyramid=False),
        'xcit own blocks': dict(arch=_XCIT, pyramid_blocks=(0, 1, 3, -1), patch_size=8),
    },
}


@dataclass(frozen=True)
class Row:
    """A preset with its figures; ``plain`` is the name of its plain twin in timm."""

    arch: str
    name: str
    plain: str
    params: float
    gmacs: float
    plain_params: float
    plain_gmacs: float
    depth: int
    size: int


def _row(name: str) -> Row:
    preset, (plain, *figures) = PRESETS[name], FIGURES[name]
    depth = len(preset.network.archs[preset.arch].plain_mlp_ratios())
    return Row(preset.arch, name, plain, *figures, depth, preset.img_size or 224)


ROWS = tuple(_row(name) for name in FIGURES)
TWINNED = tuple(row for row in ROWS if PRESETS[row.name].network is not UFOViT)


def rows_of(network: type[Network]) -> tuple[Row, ...]:
    """The first SS preset of each arch of a family."""
    rows: dict[str, Row] = {}
    for row in ROWS:
        preset = PRESETS[row.name]
        if preset.network is network and preset.settings == 'specific':
            rows.setdefault(row.arch, row)
    return tuple(rows.values())


PVT_V2, SWIN, VIT, XCIT = (rows_of(network) for network in (PVTv2, Swin, ViT, XCiT))
MODELS = (*PVT_V2, *SWIN, *VIT, *XCIT)
# the probes: DeiTs with learned layers in the place of activations and second linears
DFC = {row.name: row.plain for row in ROWS if PRESETS[row.name].mlp == 'dfc'}
ARCHS = [row.arch for row in PVT_V2]
