"""The rule: from what a probe measured to a setting for every block.

For a block whose plain MLP is r times as wide as the block (r = hidden / dim of the probe), with one factor c for the
whole network, which the budget decides (:func:`~ss_backbones.probing.budget.fit`):

- need = mean of effective_share of gl1 and gl2: the share of the hidden channels that the block makes use of
- mlp_ratio = r min(1, c need)
- attn_ratio = 2 mlp_ratio / r - 1, which gives the paper's pairs (4, 1), (3.5, 0.75) and (3, 0.5). **The probe does not
  look into the attention**: its width follows that of the MLP, as in the paper.
- act = ReLU where the gates swing less than in the mean block (nearly constant gates are a plain activation), else GELU
- pos_scale = slope of gl2, where it is surely above 0; else 0
- mlp_split = pass_through r: the channels that pass, counted in widths of the block
- attn_split = half of mlp_split where attn_ratio is 1 and the paper splits tokens in such a network (ViTs); else 0

need, gate_swing and pass_through count as their mean over the blocks where they are no more than RESOLUTION of it away,
and each of them in all blocks where these differ by no more than chance (:mod:`.chance`), at the level of BY_CHANCE.
Widths and splits are rounded down to steps of STEP, pos_scale to the nearest step. So a network whose blocks are all
alike gets the same setting for every block, as shares of each block's own plain ratio.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import ProbeError
from ..settings import BlockSetting
from .chance import probability
from .record import BlockStatistics

# Of the mean over the blocks: what differs by less is taken for chance. In a DFC-DeiT with 768 hidden channels one
# standard error of a block's need was 4 to 7% of it (bootstrap over channels), so this is about two.
RESOLUTION = 0.1
STEP = 0.25  # the finest step in the paper's table of widths and splits
LEAST_MLP = 1.0  # of the block's width: a hidden layer narrower than its input would lose tokens' directions
LEAST_ATTENTION = 0.25  # of the block's width: one step; at 0 there would be no attention
SURE = 3.0  # standard errors that a slope must be above 0; by chance 1 block in 700 has that
BY_CHANCE = 0.0027  # how often a normal variable is further than SURE standard deviations from its mean
MOST_RAMP = 2.0  # the paper's largest pos_scale, and the slope of a straight line that begins at 0
MOST_SPLIT = 0.5  # the paper's largest mlp_split

_ROUNDING = 1e-6  # what the last digits of floating-point numbers may be off


@dataclass(frozen=True)
class Evidence:
    """What the rule looks at in one block, and in the mean block.

    Args:
        block: As it was measured.
        mean: Means over the blocks of need, gate_swing and pass_through.
        chance: How likely blocks that are alike would differ as much in each of the three.
        need: Share of the hidden channels that is made use of, without noise.
        swing: Share of the gates that varies, without noise.
        pass_through: Share of the hidden channels that go through unchanged, without noise.
    """

    block: BlockStatistics
    mean: tuple[float, float, float]
    chance: tuple[float, float, float]
    need: float
    swing: float
    pass_through: float

    @property
    def ratio(self) -> float:
        """The MLP ratio of the plain block."""
        return self.block.hidden / self.block.dim

    @property
    def swings_less(self) -> bool:
        """Whether the gates swing less than the mean block's."""
        return self.swing < self.mean[1]

    @property
    def rising(self) -> bool:
        """Whether the slope of gl2 is surely above 0."""
        return self.block.gl2.slope > max(0.0, SURE * self.block.gl2.slope_error)


def evidence_of(blocks: Sequence[BlockStatistics]) -> list[Evidence]:
    """What the rule looks at, for every block.

    Raises:
        ProbeError: A number cannot be: a width below 1, or a share outside [0, 1].
    """
    for block in blocks:
        _check(block)
    columns = ([_need(b) for b in blocks], [b.gate_swing for b in blocks], [b.pass_through for b in blocks])
    errors = (
        [math.hypot(b.gl1.share_error, b.gl2.share_error) / 2 for b in blocks],
        [b.swing_error for b in blocks],
        [math.sqrt(max(0.0, b.pass_through * (1 - b.pass_through)) / b.hidden) for b in blocks],  # of a count
    )
    channels = [b.hidden for b in blocks]
    mean = tuple(math.fsum(column) / len(column) for column in columns)
    chance = tuple(probability(column, error, channels) for column, error in zip(columns, errors, strict=True))
    cleaned = (
        [m if p > BY_CHANCE else _without_noise(x, m) for x in column]
        for column, m, p in zip(columns, mean, chance, strict=True)
    )
    return [Evidence(block, mean, chance, *numbers) for block, *numbers in zip(blocks, *cleaned, strict=True)]


def why_nothing_follows(evidence: Sequence[Evidence]) -> str:
    """Where a probe shows no difference between blocks, and no ramp, its numbers in words; else nothing."""
    if any((item.need, item.swing, item.pass_through) != item.mean or item.rising for item in evidence):
        return ''
    columns = (
        ('effective shares', [_need(item.block) for item in evidence]),
        ('gate swings', [item.block.gate_swing for item in evidence]),
        ('shares that pass through', [item.block.pass_through for item in evidence]),
    )
    told = (
        f'{what} {min(values):.3f} to {max(values):.3f} '
        + (f'(by chance alone p = {p:.2g})' if p > BY_CHANCE else f'(none {RESOLUTION:g} of the mean away from it)')
        for (what, values), p in zip(columns, evidence[0].chance, strict=True)
    )
    return f'{", ".join(told)}, and no slope is surely above 0'


def setting_of(evidence: Evidence, factor: float, splits_tokens: bool) -> BlockSetting:
    """One block's setting.

    Args:
        evidence: What was measured.
        factor: The c of the rule, 0 or above.
        splits_tokens: Whether tokens may skip the attention's projection, as in the paper's settings of the network.
    """
    ratio = evidence.ratio
    mlp_ratio = max(LEAST_MLP, _down(ratio * min(1.0, factor * evidence.need)))
    attn_ratio = max(LEAST_ATTENTION, _down(2 * mlp_ratio / ratio - 1))
    mlp_split = min(MOST_SPLIT, _down(evidence.pass_through * ratio))
    return BlockSetting(
        mlp_ratio=mlp_ratio,
        mlp_split=mlp_split,
        act='ReLU' if evidence.swings_less else 'GELU',
        pos_scale=STEP * round(min(MOST_RAMP, evidence.block.gl2.slope) / STEP) if evidence.rising else 0.0,
        attn_ratio=attn_ratio,
        attn_split=mlp_split / 2 if splits_tokens and attn_ratio == 1 else 0.0,
    )


def reason_of(evidence: Evidence, setting: BlockSetting, factor: float) -> str:
    """Why a block got its setting, with the numbers that decided.

    Args:
        evidence: What was measured.
        setting: What :func:`setting_of` made of it.
        factor: The c of the rule.
    """
    block, ratio, mean = evidence.block, evidence.ratio, evidence.mean
    wanted = ratio * min(1.0, factor * evidence.need)
    need_mean = f'{"taken as the " * (evidence.need == mean[0])}mean {mean[0]:.3f}'
    pass_mean = f'{"taken as the " * (evidence.pass_through == mean[2])}mean {mean[2]:.2f}'
    return '; '.join(
        (
            f'effective share {_need(block):.3f} ({need_mean}): {ratio:g} x min(1, {factor:.3f} x {evidence.need:.3f}) '
            f'= {_shown(wanted)}{f", at least {LEAST_MLP:g}" * (wanted < LEAST_MLP)}, so mlp_ratio '
            f'{setting.mlp_ratio:g} and with it attn_ratio {setting.attn_ratio:g}',
            f'gate swing {block.gate_swing:.2f} (mean {mean[1]:.2f})'
            f'{" is less than in the mean block" * evidence.swings_less}, so {setting.act}',
            f'slope {block.gl2.slope:.2f} +- {block.gl2.slope_error:.2f}'
            f'{"" if evidence.rising else " is not surely above 0"}, so pos_scale {setting.pos_scale:g}',
            f'{block.pass_through:.2f} of the channels pass through ({pass_mean}): {evidence.pass_through:.2f} x '
            f'{ratio:g} = {_shown(evidence.pass_through * ratio)} widths, so mlp_split {setting.mlp_split:g} and '
            f'attn_split {setting.attn_split:g}',
        )
    )


def factors(blocks: Sequence[Evidence]) -> list[float]:
    """The factors c at which a block gets wider, rising; the first, 0, makes all as narrow as can be."""
    found = {0.0}
    for evidence in blocks:
        first, last = round(LEAST_MLP / STEP), round(evidence.ratio / STEP)
        found |= {k * STEP / (evidence.ratio * evidence.need) for k in range(first + 1, last + 1)}
    return sorted(found)


def _need(block: BlockStatistics) -> float:
    return (block.gl1.effective_share + block.gl2.effective_share) / 2


def _without_noise(value: float, mean: float) -> float:
    return mean if abs(value - mean) <= (RESOLUTION + _ROUNDING) * mean else value


def _down(value: float) -> float:
    return STEP * math.floor(value / STEP + _ROUNDING)


def _check(block: BlockStatistics) -> None:
    if block.dim < 1 or block.hidden < block.dim or block.hidden % block.dim:
        raise ProbeError(f'{block.name}: hidden={block.hidden} is no multiple of dim={block.dim}. Probe again.')
    shares = {'gate_swing': block.gate_swing, 'pass_through': block.pass_through}
    needs = {f'{name}.effective_share': getattr(block, name).effective_share for name in ('gl1', 'gl2')}
    for name, share in (shares | needs).items():
        if not -_ROUNDING <= share <= 1 + _ROUNDING or (name in needs and share <= 0):
            raise ProbeError(f'{block.name}: {name} is {share}, which is no share in [0, 1]. Probe again.')
    if block.gl2.slope_error < 0:
        raise ProbeError(f'{block.name}: gl2.slope_error is {block.gl2.slope_error}, and below 0. Probe again.')


def _shown(value: float) -> str:
    """Three decimals, rounded down as the rule does, so that 3.7497 does not look like a step that it lies below."""
    return f'{math.floor(value * 1000 + 1e-3) / 1000:.3f}'
