"""Hooks of mmengine's Runner for trainings of all kinds."""

from .checkpoint_check import CheckpointCheckHook
from .finite import FiniteHook
from .preemption import PreemptionHook
from .progress import ProgressHook
from .randomness import RandomnessHook

__all__ = ['CheckpointCheckHook', 'FiniteHook', 'PreemptionHook', 'ProgressHook', 'RandomnessHook']
