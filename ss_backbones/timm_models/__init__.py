"""The integration with timm: importing this registers the models."""

from . import reading
from .classifier import Classifier, ColumnarClassifier, StagedClassifier
from .models import (
    SSPVTv2Classifier,
    SSSwinClassifier,
    SSViTClassifier,
    SSXCiTClassifier,
    UFOViTClassifier,
    model_names,
    register,
)

reading.register()

__all__ = [
    'Classifier',
    'ColumnarClassifier',
    'SSPVTv2Classifier',
    'SSSwinClassifier',
    'SSViTClassifier',
    'SSXCiTClassifier',
    'UFOViTClassifier',
    'StagedClassifier',
    'model_names',
    'register',
]
