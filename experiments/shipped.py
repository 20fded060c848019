"""The configs that the installed mmdet and mmsegmentation ship, and the swap of one."""

import importlib
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from ss_backbones.openmmlab.configs import library_of, read_config
from ss_backbones.openmmlab.swapping import child_config, plan_swap


def shipped(library: str, match: str = '') -> dict[str, Path]:
    """The configs of a library that have a text in their file's names, by what stands behind ``LIBRARY::``."""
    root = Path(importlib.import_module(library).__file__).parent / '.mim/configs'
    return {
        path.relative_to(root).as_posix(): path
        for path in sorted(root.rglob('*.py'))
        if '_base_' not in path.parts and match in path.name
    }


def swap(config: Config, path: Path, backbone: Mapping[str, object], folder: Path) -> Config:
    """A config with another backbone and random weights.

    Args:
        config: What was read from the file.
        path: The file.
        backbone: The new backbone's dict, without ``out_indices`` and ``init_cfg``.
        folder: A place for a file.

    Raises:
        UsageError: It cannot be swapped.
    """
    plan = plan_swap(config, path.name, library_of(config), {**backbone, 'init_cfg': None})
    child = folder / 'child.py'
    child.write_text(child_config(plan, str(path), 'an experiment', ['ss_backbones']))
    return read_config(str(child), {})
