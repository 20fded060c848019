"""Hooks of mmengine's Runner for the training of classifiers."""

from .averaging import AveragedWeightsHook
from .classes import ClassesHook
from .missed_validation import MissedValidationHook
from .summary import SummaryHook

__all__ = [
    'AveragedWeightsHook',
    'ClassesHook',
    'MissedValidationHook',
    'SummaryHook',
]
