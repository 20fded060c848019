"""How trainings go on, whatever is trained: Runner, loops and hooks; importing this registers them.

Classifiers, detectors and segmenters share them: what is on the screen, stopping and going on, and randomness.
"""

from . import hooks, workers
from .loops import EpochLoop, IterLoop
from .runner import Runner

__all__ = ['EpochLoop', 'IterLoop', 'Runner', 'hooks', 'workers']
