"""The models that every test runs over, with the figures they must meet."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One architecture: millions of trainable parameters and GMACs at 224 x 224 with 1000 classes, SS and plain.

    ``name`` is the model's in timm, ``plain`` that of its plain twin there.
    """

    arch: str
    name: str
    plain: str
    params: float
    gmacs: float
    plain_params: float
    plain_gmacs: float
    depth: int


# The plain columns are those of the published PVTv2 and DeiT models, the SS ones what the rule gives in the official
# classes.
PVT_V2 = tuple(
    Row(arch, f'ss_pvt_v2_{arch}', f'pvt_v2_{arch}', *figures)
    for arch, *figures in (
        ('b0', 3.422, 0.422, 3.667, 0.566, 8),
        ('b1', 13.049, 1.571, 14.009, 2.108, 8),
        ('b2', 22.913, 3.109, 25.363, 4.027, 16),
        ('b2_li', 20.104, 2.971, 22.554, 3.889, 16),
        ('b3', 42.277, 5.816, 45.239, 6.897, 28),
        ('b4', 58.511, 8.434, 62.556, 10.101, 41),
        ('b5', 78.549, 11.073, 81.956, 11.717, 52),
    )
)
VIT = tuple(
    Row(arch, f'ss_vit_{arch}_patch16_224', f'deit_{arch}_patch16_224', *figures)
    for arch, *figures in (
        ('tiny', 5.329, 1.163, 5.717, 1.254, 12),
        ('small', 20.501, 4.257, 22.051, 4.599, 12),
        ('base', 80.371, 16.241, 86.568, 17.564, 12),
    )
)
MODELS = (*PVT_V2, *VIT)
# the probes: DeiTs with learned layers in the place of activations and second linears
DFC = {f'dfc_deit_{arch}_patch16_224': f'deit_{arch}_patch16_224' for arch in ('tiny', 'small', 'base')}
NAMES = [*(row.name for row in MODELS), 'ss_vit_base_patch16_384', *DFC]
ARCHS = [row.arch for row in PVT_V2]
