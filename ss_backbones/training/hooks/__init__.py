"""Hooks of mmengine's Runner for trainings of all kinds."""

from .bad_data import BadDataHook
from .checkpoint_check import CheckpointCheckHook
from .finite import FiniteHook
from .preemption import PreemptionHook
from .progress import ProgressHook
from .randomness import RandomnessHook

__all__ = ['BadDataHook', 'CheckpointCheckHook', 'FiniteHook', 'PreemptionHook', 'ProgressHook', 'RandomnessHook']
