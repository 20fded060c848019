"""Checks of the packages: whether they are there, go together, and can be imported."""

import importlib
import importlib.util
import subprocess
import sys
from io import BytesIO

from ..environment import OLDEST, TESTED, how_to_install
from .findings import Check, Level, Problem
from .troubles import DISTRIBUTIONS, cure_of, installed, numbers, torchvision_for

_OPENCV = ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python', 'opencv-contrib-python-headless')
_CHILD_SECONDS = 300

# mmcv's operators, in a process of their own: compiled for another torch they may end it
OPERATORS = """
import torch
from mmcv.ops import nms, roi_align
places = ['cpu'] + ['cuda'] * torch.cuda.is_available()
for place in places:
    boxes = torch.tensor([[0., 0, 10, 10], [0, 0, 10, 11], [20, 20, 30, 30]], device=place)
    kept = nms(boxes, torch.tensor([.9, .8, .7], device=place), .5)[1].tolist()
    assert kept == [0, 2], f'NMS keeps {kept} on {place}, expected [0, 2]'
    ramp = torch.arange(32., device=place).expand(1, 1, 32, 32).contiguous()
    mean = roi_align(ramp, torch.tensor([[0., 4, 4, 12, 12]], device=place), (1, 1), 1., 0, 'avg', True).item()
    assert abs(mean - 7.5) < 1e-3, f'RoIAlign gives {mean} on {place}, expected 7.5'
print('RoIAlign and NMS work on', ' and '.join(places))
"""


def package_checks() -> list[Check]:
    """Those of what is imported, from the bottom up."""
    there = [name for name in DISTRIBUTIONS if is_there(name)]
    checks = [
        Check('python', python_version),
        Check('torch', torch_version),
        Check('torchvision', torchvision_version),
        Check('numpy', numpy_version),
        Check('timm', timm_version),
    ]
    if not there:
        return [*checks, Check('openmmlab', no_openmmlab)]
    checks += [Check('opencv', opencv_version), Check('forks', forks)]
    for name in DISTRIBUTIONS:
        checks.append(Check(name, lambda name=name: openmmlab_version(name)))
        if name == 'mmengine':
            checks.append(Check('safe loading', safe_loading))
        if name == 'mmcv':
            checks.append(Check('operators', operators))
    return checks


def is_there(name: str) -> bool:
    """Whether a module can be found, broken or not."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def python_version() -> str:
    """3.10 to 3.12, which is what the package is tried with."""
    text = f'{sys.version.split()[0]} on {sys.platform}, {sys.executable}'
    if sys.version_info >= (3, 13) or not sys.platform.startswith('linux'):
        raise Problem(text, 'The package is tried with Python 3.10 to 3.12 on Linux.', Level.WARNING)
    return text


def torch_version() -> str:
    """Not older than what is promised."""
    _require('torch')
    import torch

    text = f'{torch.__version__}, {"CUDA " + torch.version.cuda if torch.version.cuda else "without CUDA"}'
    _check_age('torch', torch.__version__, text)
    return text


def torchvision_version() -> str:
    """The one that goes with torch, with its operators."""
    _require('torchvision')
    import torch
    import torchvision

    major, minor, *_ = numbers(torch.__version__)
    expected, given = (0, minor + 15), numbers(torchvision.__version__)[:2]
    if major == 2 and given != expected:
        raise Problem(
            f'{torchvision.__version__} is not the one for torch {torch.__version__}',
            torchvision_for(torch.__version__),
        )
    torchvision.ops.nms(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([1.0]), 0.5)
    return torchvision.__version__


def numpy_version() -> str:
    """One that torch and pycocotools were compiled for."""
    _require('numpy')
    import numpy
    import torch

    torch.from_numpy(numpy.ones(1)).numpy()
    if is_there('pycocotools'):
        importlib.import_module('pycocotools.mask')
    return numpy.__version__


def timm_version() -> str:
    """Not older than what is promised."""
    _require('timm')
    import timm

    _check_age('timm', timm.__version__, timm.__version__)
    return timm.__version__


def no_openmmlab() -> str:
    """Nothing of OpenMMLab is installed, which is enough for classifiers as timm models."""
    raise Problem(
        'none of mmengine, mmcv, mmdet and mmsegmentation is installed: the timm models work, detectors, segmenters '
        'and trainings do not',
        how_to_install('them'),
        Level.WARNING,
    )


def opencv_version() -> str:
    """One, and it can be imported."""
    _require('cv2', 'opencv-python-headless')
    import cv2

    there = installed(*_OPENCV)
    text = ', '.join(f'{name} {version}' for name, version in there.items()) or cv2.__version__
    if len(there) > 1:
        raise Problem(
            f'{text}: all of them write to the same folder cv2',
            f'pip uninstall -y {" ".join(there)}; pip install opencv-python-headless',
            Level.WARNING,
        )
    return text


def forks() -> str:
    """One distribution for each import name, and all from one house."""
    there = {name: installed(*names) for name, names in DISTRIBUTIONS.items()}
    for name, found in there.items():
        if len(found) > 1:
            both = ' and '.join(f'{key} {value}' for key, value in found.items())
            keep = next((key for key in found if key.startswith('onedl-')), list(found)[0])
            raise Problem(
                f'{both} both write to the folder {name}',
                f'pip uninstall -y {" ".join(found)}; pip install {keep}=={found[keep]}',
            )
    houses = {name: next(iter(found)).startswith('onedl-') for name, found in there.items() if found}
    text = ', '.join(f'{key} {value}' for found in there.values() for key, value in found.items())
    if len(set(houses.values())) > 1:
        raise Problem(
            f'{text}: some are maintained forks, others are not',
            'Take all four from one house; the versions that go together are in the documentation (Installation).',
            Level.WARNING,
        )
    return text or 'no distribution is known; the modules were not installed by pip'


def openmmlab_version(name: str) -> str:
    """It is there and can be imported."""
    if not is_there(name):
        others = [other for other in ('mmdet', 'mmseg') if other != name and is_there(other)]
        needed = name in ('mmengine', 'mmcv')
        what = {'mmdet': 'detectors', 'mmseg': 'segmenters'}.get(name)
        raise Problem(
            'is not installed'
            + (
                f', so {what} do not work'
                if what
                else f', and without it {" and ".join(others) or "nothing of OpenMMLab"} cannot work'
            ),
            f'pip install {TESTED[name]}',
            Level.FAILED if needed else Level.WARNING,
        )
    if name == 'mmengine' and not is_there('pkg_resources') and 'mmengine' in installed('mmengine'):
        raise Problem("No module named 'pkg_resources'", cure_of("No module named 'pkg_resources'"))
    module = importlib.import_module(name)
    if name in ('mmdet', 'mmseg'):
        importlib.import_module(f'{name}.apis')  # which imports all of it
    if name == 'mmcv' and (lite := installed('mmcv-lite')):
        raise Problem(
            f'mmcv-lite {lite["mmcv-lite"]} has no operators',
            f'pip uninstall -y mmcv-lite; {cure_of("No module named " + repr("mmcv._ext")).partition(": ")[2]}',
        )
    return getattr(module, '__version__', 'without a version')


def safe_loading() -> str:
    """Checkpoints of mmengine hold more than tensors, which torch's safe loading must be told."""
    import numpy
    import torch
    from mmengine.logging import HistoryBuffer

    from .. import register

    register()
    file = BytesIO()
    torch.save({'loss': HistoryBuffer([1.0], [1]), 'best': numpy.float64(1)}, file)
    file.seek(0)
    torch.load(file, weights_only=True)
    return "torch's safe loading reads mmengine's checkpoints"


def operators() -> str:
    """RoIAlign and NMS give the right numbers, on a GPU too where there is one."""
    if not is_there('mmcv'):
        raise Problem('there is no mmcv')
    try:
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', OPERATORS], capture_output=True, text=True, timeout=_CHILD_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise Problem(f'took more than {_CHILD_SECONDS} s') from error
    if done.returncode < 0:
        raise Problem(f'they end the process (signal {-done.returncode})', cure_of('mmcv._ext: undefined symbol'))
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ['nothing was said'])[-1]
        raise Problem(said, cure_of(said))
    return done.stdout.strip()


def _check_age(module: str, given: str, text: str) -> None:
    oldest = OLDEST[module]
    if numbers(given) < numbers(oldest):
        raise Problem(text, f'The package needs {module} {oldest} or newer: pip install "{module}>={oldest}"')


def _require(module: str, package: str = '') -> None:
    if not is_there(module):
        raise Problem('is not installed', f'pip install {package or module}')
