"""The rule's words: why a block got its setting."""

import math

from ..settings import BlockSetting
from .rule import LEAST_MLP, Evidence


def reason_of(evidence: Evidence, setting: BlockSetting, factor: float) -> str:
    """One sentence with the numbers that decided.

    Args:
        evidence: What was measured.
        setting: What the rule made of it.
        factor: The c of the rule.
    """
    return '; '.join(
        (
            _width(evidence, setting, factor),
            _activation(evidence, setting),
            _ramp(evidence, setting),
            _bypass(evidence, setting),
        )
    )


def _width(evidence: Evidence, setting: BlockSetting, factor: float) -> str:
    ratio, need, mean = evidence.ratio, evidence.need, evidence.mean[0]
    against = f'taken as the mean {mean:.3f}' if need == mean else f'mean {mean:.3f}'
    wanted = ratio * min(1.0, factor * need)
    least = f', at least {LEAST_MLP:g}' if wanted < LEAST_MLP else ''
    return (
        f'effective share {evidence.measured_need:.3f} ({against}): '
        f'{ratio:g} x min(1, {factor:.3f} x {need:.3f}) = {_down(wanted)}{least}, so mlp_ratio '
        f'{setting.mlp_ratio:g} and with it attn_ratio {setting.attn_ratio:g}'
    )


def _activation(evidence: Evidence, setting: BlockSetting) -> str:
    why = ' is less than in the mean block' if evidence.swings_less else ''
    return f'gate swing {evidence.block.gate_swing:.2f} (mean {evidence.mean[1]:.2f}){why}, so {setting.act}'


def _ramp(evidence: Evidence, setting: BlockSetting) -> str:
    layer = evidence.block.gl2
    why = '' if evidence.rising else ' is not surely above 0'
    return f'slope {layer.slope:.2f} +- {layer.slope_error:.2f}{why}, so pos_scale {setting.pos_scale:g}'


def _bypass(evidence: Evidence, setting: BlockSetting) -> str:
    share, mean = evidence.pass_through, evidence.mean[2]
    against = f'taken as the mean {mean:.2f}' if share == mean else f'mean {mean:.2f}'
    return (
        f'{evidence.block.pass_through:.2f} of the channels pass through ({against}): {share:.2f} x '
        f'{evidence.ratio:g} = {_down(share * evidence.ratio)} widths, so mlp_split {setting.mlp_split:g} and '
        f'attn_split {setting.attn_split:g}'
    )


def _down(value: float) -> str:
    """Three decimals, rounded down as the rule does, so that 3.7497 does not look like a step that it lies below."""
    return f'{math.floor(value * 1000 + 1e-3) / 1000:.3f}'
