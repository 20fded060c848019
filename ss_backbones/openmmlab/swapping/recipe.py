"""What of a config's recipe is the old backbone's: weights, normalisation and optimiser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from ..pretrained import is_pretrained

if TYPE_CHECKING:
    from .plan import Path, Plan

_NORMALISATION = {'mean': [123.675, 116.28, 103.53], 'std': [58.395, 57.12, 57.375], 'bgr_to_rgb': True}
_RATES = {'mmdet': (1e-4, 0.05), 'mmseg': (6e-5, 0.01)}  # learning rate and weight decay with AdamW
_BATCH = 16  # images, for which the learning rates are
# of mmdet and mmsegmentation: they know the layers of ConvNeXt, BEiT and MAE alone, and raise for others
_BY_OLD_LAYERS = ('LearningRateDecayOptimizerConstructor', 'LayerDecayOptimizerConstructor')
_OURS = 'ss_backbones.LayerDecayOptimizerConstructor'


def value_at(config: Config, path: Path) -> Any:
    """What stands at a path of keys; None if nothing does."""
    found = config.get(path[0])
    for key in path[1:]:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def change_recipe(config: Config, library: str, plan: Plan, keep_optimizer: bool) -> None:
    """Plan other weights, normalisation and optimiser.

    Args:
        config: The config, with what it inherits.
        library: 'mmdet' or 'mmseg'.
        plan: Gets the changes.
        keep_optimizer: Leave the optimiser as it is, but for what cannot be made with another backbone.
    """
    _change_weights(config, plan)
    _change_normalisation(config, plan)
    _change_optimizer(config, library, plan, keep_optimizer)


def _change_weights(config: Config, plan: Plan) -> None:
    model = value_at(config, plan.root)
    if model.get('pretrained') is not None:
        plan.changes[(*plan.root, 'pretrained')] = None
        plan.notes.append(f'pretrained={model["pretrained"]!r} was of the old backbone.')
    for place in _wholes(plan):
        given = (value_at(config, place) or {}).get('init_cfg') or []
        given = [given] if isinstance(given, Mapping) else given
        others = [cfg for cfg in given if not is_pretrained(cfg)]
        if len(others) < len(given):
            plan.changes[(*place, 'init_cfg')] = others or None
            plan.notes.append(f'The weights of {".".join(map(str, place))}.init_cfg had the old backbone.')
    if config.get('load_from'):
        plan.changes[('load_from',)] = None
        plan.notes.append(f'load_from={config.load_from!r} had the old backbone.')


def _wholes(plan: Plan) -> Iterator[Path]:
    """The model, and the detector inside of a tracker or a teacher."""
    yield from dict.fromkeys((('model',), plan.root))


def _change_normalisation(config: Config, plan: Plan) -> None:
    changed = False
    for whole in _wholes(plan):
        # a teacher's and student's preprocessor has the one for images inside
        for inside in (('data_preprocessor',), ('data_preprocessor', 'data_preprocessor')):
            processor = value_at(config, (*whole, *inside)) or {}
            other = {
                key: value
                for key, value in _NORMALISATION.items()
                if key in processor and _plain(processor[key]) != _plain(value)
            }
            plan.changes |= {(*whole, *inside, key): value for key, value in other.items()}
            changed = changed or bool(other)
    if changed:
        plan.notes.append('Images are normalised as they were for the new weights.')


def _change_optimizer(config: Config, library: str, plan: Plan, keep_optimizer: bool) -> None:
    wrapper = config.get('optim_wrapper') or {}
    rate, decay = _RATES[library]
    replaced = not keep_optimizer and (wrapper.get('optimizer') or {}).get('type') == 'SGD'
    by_layers = str(wrapper.get('constructor')).rpartition('.')[2] in _BY_OLD_LAYERS and not replaced
    if replaced:
        plan.changes[('optim_wrapper', 'optimizer')] = {
            '_delete_': True,
            'type': 'AdamW',
            'lr': rate,
            'weight_decay': decay,
        }
        plan.notes.append(
            f'AdamW in place of SGD, which does not train transformers well: lr={rate:g} for a batch of {_BATCH}, no '
            'decay for norms, biases and positions. --keep-optimizer leaves SGD.'
        )
        if (config.get('auto_scale_lr') or {}).get('base_batch_size') != _BATCH:  # so that another batch is told
            plan.changes[('auto_scale_lr',)] = {'enable': False, 'base_batch_size': _BATCH}
    if by_layers:
        plan.notes.append(
            f"{wrapper['constructor']} knows the old backbone's layers alone. That of this package has one learning "
            'rate for all layers with layer_decay_rate=1, and less for those near the image below that.'
        )
    if replaced or by_layers:
        plan.changes[('optim_wrapper', 'constructor')] = _OURS
        delete = {'_delete_': True} if wrapper.get('paramwise_cfg') else {}
        plan.changes[('optim_wrapper', 'paramwise_cfg')] = {**delete, 'layer_decay_rate': 1.0}


def _plain(value: Any) -> Any:
    return [float(x) for x in value] if isinstance(value, list | tuple) else value
