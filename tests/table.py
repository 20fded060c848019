"""The models that every test runs over, with the figures they must meet."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One architecture: millions of trainable parameters and GMACs at 224 x 224 with 1000 classes, SS and plain."""

    arch: str
    params: float
    gmacs: float
    plain_params: float
    plain_gmacs: float
    depth: int


# The plain columns are those of the published PVTv2 models, the SS ones what the rule gives in the official classes.
PVT_V2 = (
    Row('b0', 3.422, 0.422, 3.667, 0.566, 8),
    Row('b1', 13.049, 1.571, 14.009, 2.108, 8),
    Row('b2', 22.913, 3.109, 25.363, 4.027, 16),
    Row('b2_li', 20.104, 2.971, 22.554, 3.889, 16),
    Row('b3', 42.277, 5.816, 45.239, 6.897, 28),
    Row('b4', 58.511, 8.434, 62.556, 10.101, 41),
    Row('b5', 78.549, 11.073, 81.956, 11.717, 52),
)
ARCHS = [row.arch for row in PVT_V2]
