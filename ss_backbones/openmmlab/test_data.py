"""What a config says of the images that its model is tested on: their preparation and their classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from ..errors import UsageError


def _dataset_settings(config: Config) -> Mapping[str, Any]:
    """The test set's, out of wrappers such as ConcatDataset; nothing where the config has none."""
    data = (config.get('test_dataloader') or {}).get('dataset') or {}
    while 'dataset' in data or data.get('datasets'):
        data = data['dataset'] if 'dataset' in data else data['datasets'][0]
    return data


def evaluation_steps(config: Config) -> list[Mapping[str, Any]]:
    """The steps that images go through in a config's test; none where it does not say them."""
    return list(_dataset_settings(config).get('pipeline') or ())


def image_steps(name: str, config: Config) -> list[dict[str, Any]]:
    """The steps of the test pipeline, without those that read annotations.

    Raises:
        UsageError: The config, which is called ``name``, has no test pipeline.
    """
    steps = evaluation_steps(config)
    if not steps:
        raise UsageError(f'{name} has no test_dataloader.dataset.pipeline, which says how images are prepared.')
    return [dict(step) for step in steps if 'Annotations' not in str(step['type'])]


def metainfo_of_test_set(config: Config) -> dict[str, Any]:
    """What its class and the config say of the test set, such as 'classes' and 'palette', without a look at its files.

    The config's library has to be mmengine's default scope.
    """
    data = _dataset_settings(config)
    kind = data.get('type')
    with DATASETS.switch_scope_and_registry(data.get('_scope_')) as registry:
        cls = registry.get(kind) if isinstance(kind, str) else kind
    return {**getattr(cls, 'METAINFO', {}), **(data.get('metainfo') or {})}
