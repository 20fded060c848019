"""What can be wrong with the data of detectors and segmenters: found before a training, and named where it is read."""

from .coco_file import coco_faults
from .faults import Fault, describe
from .guarding import BadDataError, Guard, guard, guards_of, parts_of
from .looking import Look, Seen, fingerprint, look_at
from .samples import Labels, Reading, is_local, reading_of, sample_faults

__all__ = [
    'BadDataError',
    'Fault',
    'Guard',
    'Labels',
    'Look',
    'Reading',
    'Seen',
    'coco_faults',
    'describe',
    'fingerprint',
    'guard',
    'guards_of',
    'is_local',
    'look_at',
    'parts_of',
    'reading_of',
    'sample_faults',
]
