"""Whether everything that this package stands on works, check by check, with the cure of each known trouble.

Nothing large is imported at the top of these modules: what is to be found out is what cannot be imported.
"""

from .config import config_checks
from .findings import Check, Finding, Level, Problem, examine
from .machine import machine_checks
from .own import own_checks
from .packages import package_checks

__all__ = [
    'Check',
    'Finding',
    'Level',
    'Problem',
    'config_checks',
    'examine',
    'machine_checks',
    'own_checks',
    'package_checks',
]
