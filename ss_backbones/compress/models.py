"""What a timm name or a config means for inheriting: the network with any settings, and how its images are prepared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import timm
from PIL import Image
from timm.data import create_transform
from torch import Tensor, nn

from ..errors import UsageError
from ..networks.arguments import Settings
from ..timm_models import model_names
from .images import Labelled, images_below

if TYPE_CHECKING:
    from mmengine.config import Config

Size = tuple[int, int]


@dataclass(frozen=True)
class Model:
    """What is to get weights.

    Args:
        name: The timm name, or the config.
        build: Makes the network, for the settings (None for its own) and the number of classes (None for its own).
        prepare: Makes (C, H, W), normalised, of the image in a file, as an evaluation of the model does.
        files: Lists the images of the config's training data, and their classes; None for a timm name.
    """

    name: str
    build: Callable[[Settings | None, int | None], nn.Module]
    prepare: Callable[[str], Tensor]
    files: Callable[[], list[Labelled]] | None = None


def find_model(name: str, size: Size | None) -> Model:
    """What a timm name or a config means.

    Args:
        name: A timm name of this package, or a config of a classifier, a detector or a segmenter.
        size: Height and width in pixels that the images get; None for the model's own.

    Raises:
        UsageError: There is no such model, or it is none of this package's.
    """
    if '::' in name or name.endswith(('.py', '.yml', '.yaml', '.json')):
        return _of_config(name, size)
    if name not in model_names():
        raise UsageError(
            f'{name!r} is neither a config file (.py) nor a timm model of this package: {", ".join(model_names())}.'
        )
    return _classifier(name, name, {}, {}, size)


def _classifier(
    name: str, model: str, options: Mapping[str, Any], transform: Mapping[str, Any], size: Size | None
) -> Model:
    about = timm.get_pretrained_cfg(model)
    if about.fixed_input_size and size is not None:
        options = {**options, 'img_size': size}
    plan = {
        'input_size': (3, *size) if size else about.input_size,
        'interpolation': about.interpolation,
        'crop_pct': about.crop_pct,
        'mean': about.mean,
        'std': about.std,
    }
    if size:
        transform = {key: value for key, value in transform.items() if key != 'input_size'}
    pipeline = create_transform(**{**plan, **transform}, is_training=False)

    def prepare(file: str) -> Tensor:
        with Image.open(file) as image:
            return pipeline(image.convert('RGB'))

    def build(settings: Settings | None, classes: int | None) -> nn.Module:
        given = dict(options)
        if settings is not None:
            given['settings'] = settings
        if classes is not None:
            given['num_classes'] = classes
        return _built(name, lambda: timm.create_model(model, **given))

    return Model(name, build, prepare)


def _of_config(name: str, size: Size | None) -> Model:
    # only a config needs OpenMMLab
    from ..openmmlab.configs import read_config

    config = read_config(name, {}, custom_imports=True)
    backbone = (config.get('model') or {}).get('backbone')
    if not isinstance(backbone, Mapping):
        raise UsageError(f'{name} has no model.backbone, which is what would get weights.')
    if 'name' in backbone:
        return _of_classifier_config(name, config, size)
    return _of_openmmlab(name, config, size)


def _of_classifier_config(name: str, config: Config, size: Size | None) -> Model:
    options = {**config.model.backbone, 'pretrained': False, 'checkpoint_path': ''}
    model = options.pop('name')
    if model not in model_names():
        raise UsageError(f'The classifier of {name} is {model}, no model of this package.')
    data = config.get('train_dataloader', {}).get('dataset', {})

    def files() -> list[Labelled]:
        if data.get('name'):
            raise UsageError(f'The training data of {name} are no folders. Give a folder of images: --images DIR')
        return images_below(f'{data["data_root"]}/{data["split"]}')

    transform = config.get('val_dataloader', {}).get('dataset', {}).get('transform', {})
    return replace(_classifier(name, model, options, transform, size), files=files)


def _of_openmmlab(name: str, config: Config, size: Size | None) -> Model:
    from mmengine.dataset import Compose
    from mmengine.registry import DATASETS, MODELS, init_default_scope

    from ..openmmlab.backbone_building import build_backbone, own_class
    from ..openmmlab.configs import library_of
    from ..openmmlab.model_check import check_model

    cls = own_class(config.model.backbone)
    if cls is None:
        raise UsageError(
            f'The backbone of {name} is {config.model.backbone.get("type")}; only backbones of this package inherit.'
        )
    check_model(config, 'inherit', name)
    library = library_of(config)
    plain = {**config.model.backbone, 'type': cls, 'bf16': False, 'init_cfg': None}

    def build(settings: Settings | None, classes: int | None) -> nn.Module:
        given = plain if settings is None else {**plain, 'settings': settings}
        return _built(name, lambda: build_backbone(given, library))

    init_default_scope(library or 'mmengine')
    steps = _evaluation_steps(name, config, size)
    try:
        pipeline, processor = Compose(steps), MODELS.build(config.model.data_preprocessor)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f'{name}: its test pipeline cannot be built: {error}') from error

    def prepare(file: str) -> Tensor:
        packed = pipeline({'img_path': file, 'img_id': 0})
        batch = {'inputs': [packed['inputs']], 'data_samples': [packed['data_samples']]}
        return processor(batch, training=False)['inputs'][0]

    def files() -> list[Labelled]:
        try:
            data = DATASETS.build(config.train_dataloader.dataset)
            return [(data.get_data_info(i)['img_path'], 0) for i in range(len(data))]
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise UsageError(
                f'The training data of {name} cannot be read: {error}. Give a folder of images: --images DIR'
            ) from error

    return Model(name, build, prepare, files)


def _evaluation_steps(name: str, config: Config, size: Size | None) -> Sequence[Mapping[str, Any]]:
    """The test pipeline without its annotations, for images of a size where one is given."""
    from ..openmmlab.test_data import image_steps

    steps = image_steps(name, config)
    if size is not None:
        scaled = [step for step in steps if 'scale' in step]
        if not scaled:
            raise UsageError(f'No step of the test pipeline of {name} has a scale that --img-size could set.')
        for step in scaled:
            step['scale'] = size[::-1]
    return steps


def _built(name: str, make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f'{name}: {error}') from error
