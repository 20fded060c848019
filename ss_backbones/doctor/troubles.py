"""Troubles that many have had with OpenMMLab, known by what is said, and the cure of each."""

import re
from importlib.metadata import PackageNotFoundError, version

from ..environment import TESTED

# pip's names of what is imported under one name: the project's own, and the maintained forks'
DISTRIBUTIONS = {
    'mmengine': ('mmengine', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'mmcv-full', 'mmcv-lite', 'onedl-mmcv'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
}
SETUPTOOLS = 'pip install "setuptools<81"'
_COMPILE = 'CFLAGS=-g0 pip install --force-reinstall --no-deps --no-build-isolation --no-binary :all: {mmcv}'
_HEADLESS = 'pip uninstall -y opencv-python opencv-contrib-python; pip install opencv-python-headless'
_TORCH_CUDA = 'install a torch whose CUDA has this GPU (torch.cuda.get_arch_list()), then compile mmcv against it: '

# the first that is found in what an error says
_KNOWN = (
    (r"No module named 'mmcv\._ext'", f'mmcv is there without its operators; compile it: {_COMPILE}'),
    (r'_ext\S*: (undefined symbol|cannot open)', f'mmcv was compiled for another torch; compile it again: {_COMPILE}'),
    (r"No module named 'pkg_resources'", f'setuptools 82 has no pkg_resources any more: {SETUPTOOLS}'),
    (
        r'MMCV==\S+ is used but incompatible',
        f'pip install --no-build-isolation {TESTED["mmcv"]}, or take the forks '
        '(onedl-mmcv, onedl-mmengine, onedl-mmdetection, onedl-mmsegmentation), which go together',
    ),
    (r'MMEngine==\S+ is used but incompatible', f'pip install {TESTED["mmengine"]}'),
    (r'libGL\.so|libgthread|libglib|libSM\.so|libXext', f'OpenCV wants a screen that is not there: {_HEADLESS}'),
    (
        r'numpy\.dtype size changed|_ARRAY_API|compiled using NumPy 1|Numpy is not available|multiarray failed',
        'it was compiled for numpy 1: pip install --force-reinstall --no-cache-dir it, or pip install "numpy<2"',
    ),
    (r'torchvision::nms|torchvision\S*: undefined symbol', 'torchvision is for another torch: {torchvision}'),
    (r"No module named '(ftfy|regex)'", 'mmsegmentation does not declare them: pip install ftfy regex'),
    (
        r'WeightsUnpickler|weights_only|Unsupported (global|class)',
        'import ss_backbones before checkpoints are loaded: '
        "custom_imports = dict(imports=['ss_backbones']); ss-backbones train and test do it",
    ),
    (r'no kernel image is available', f'{_TORCH_CUDA}TORCH_CUDA_ARCH_LIST=X.Y FORCE_CUDA=1 {_COMPILE}'),
    (r'not compiled with (GPU|CUDA)|implementation for device cuda', f'FORCE_CUDA=1 {_COMPILE}'),
    (r'already registered', 'two packages register one name: import only one of them in custom_imports'),
    (r'not in the \S+ registry', "custom_imports = dict(imports=['ss_backbones']) in the config"),
)


def cure_of(text: str) -> str:
    """What to do about what an error says; '' where that is not known."""
    for pattern, cure in _KNOWN:
        if re.search(pattern, text, re.IGNORECASE):
            return cure.format(mmcv=_mmcv(), torchvision=torchvision_for(_version('torch')))
    missing = re.search(r"No module named '(\w+)", text)
    return f'pip install {missing[1]}' if missing else ''


def installed(*names: str) -> dict[str, str]:
    """The versions of those distributions that are installed."""
    return {name: found for name in names if (found := _version(name))}


def numbers(text: str) -> tuple[int, ...]:
    """1.0.31rc0 as (1, 0, 31)."""
    return tuple(int(number) for number in re.match(r'[\d.]*', text)[0].split('.') if number)


def torchvision_for(torch: str) -> str:
    """How to install the torchvision that goes with a torch 2.x: 2.0 has 0.15, and so on."""
    major, minor, *_ = (*numbers(torch), 0, 0)
    return (
        f'pip install "torchvision==0.{minor + 15}.*"' if major == 2 else 'pip install the torchvision of its release'
    )


def _mmcv() -> str:
    fork = installed('onedl-mmcv')
    return f'onedl-mmcv=={fork["onedl-mmcv"]}' if fork else TESTED['mmcv']


def _version(name: str) -> str:
    try:
        return version(name) or ''
    except PackageNotFoundError:
        return ''
