"""Layer-wise learning rates: the nearer to the image, the smaller."""

import logging
from collections.abc import Mapping

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from ..registry import OPTIM_WRAPPER_CONSTRUCTORS

_RATE = 'layer_decay_rate'
_OF_MMENGINE = (
    'bias_decay_mult',
    'bias_lr_mult',
    'bypass_duplicate',
    'custom_keys',
    'dcn_offset_lr_mult',
    'dwconv_decay_mult',
    'flat_decay_mult',
    'norm_decay_mult',
)
_KNOWN = {_RATE, *_OF_MMENGINE}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimizerConstructor(DefaultOptimWrapperConstructor):
    """Multiplies a parameter's learning rate by ``layer_decay_rate`` for every layer between it and the neck.

    It asks the backbone (``get_layer_depth``) where a parameter stands, so it works for every backbone of this package
    in detectors, segmenters, classifiers and alone. What is outside the backbone keeps the whole rate. Norms, biases,
    position tables and tokens get no weight decay. Parameters of one rate and one weight decay make up one group, which
    optimisers step through faster than through one group for each.

    Args:
        optim_wrapper_cfg: The config's optim_wrapper; the optimiser needs ``lr`` and ``weight_decay``.
        paramwise_cfg: ``layer_decay_rate`` in (0, 1], and whatever mmengine's own constructor knows (custom_keys,
            bias_lr_mult, ...). A custom key decides about weight decay only if it has ``decay_mult``.

    Raises:
        ValueError: ``layer_decay_rate`` is missing or out of range, a key is unknown, the optimiser lacks its ``lr`` or
            ``weight_decay``, or nothing in the model has ``get_layer_depth``.

    Source: layer-wise decay as in BEiT (arXiv 2106.08254).

    In a config: ``optim_wrapper=dict(constructor='ss_backbones.LayerDecayOptimizerConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9), ...)``. The scope in the name is needed: mmsegmentation has a class of the
    same name, for its own backbones.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        given = dict(paramwise_cfg or {})
        unknown = sorted(set(given) - _KNOWN)
        if unknown:
            raise ValueError(
                f'paramwise_cfg has unknown keys {unknown}; known are {sorted(_KNOWN)}. The rate of '
                f"mmsegmentation's constructor is called {_RATE} here, and the backbone knows its layers; what comes "
                'from a base config goes with _delete_=True.'
            )
        rate = given.pop(_RATE, None)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise ValueError(
                f'paramwise_cfg: {_RATE}={rate!r} must be a number above 0 and up to 1, such as '
                f'paramwise_cfg=dict({_RATE}=0.9); 1 is no decay by layer.'
            )
        for name in ('lr', 'weight_decay'):
            if optim_wrapper_cfg.get('optimizer', {}).get(name) is None:
                raise ValueError(f'optim_wrapper: the optimizer needs {name}=..., as it is set for every layer.')
        self.rate = rate
        super().__init__(optim_wrapper_cfg, {'norm_decay_mult': 0.0, 'bias_decay_mult': 0.0, **given})

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', is_dcn_module: int | float | None = None
    ) -> None:
        """Fill ``params`` with parameter groups. mmengine calls it again for every child, with a prefix."""
        super().add_params(params, module, prefix=prefix, is_dcn_module=is_dcn_module)
        if not prefix:
            params[:] = self._by_layer(params, module)

    def _by_layer(self, params: list[dict], model: nn.Module) -> list[dict]:
        backbones = _backbones(model)
        if not backbones:
            raise ValueError(
                f'{type(self).__name__} asks the backbone for the layer of every parameter, but nothing in '
                f'{type(model).__name__} has get_layer_depth. Take a backbone of ss_backbones, or another constructor.'
            )
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        groups: dict[str, dict] = {}
        for single in params:
            name = names[id(single['params'][0])]
            start = next((start for start in backbones if name.startswith(start)), None)
            custom = self._custom_key(name)
            options = {key: value for key, value in single.items() if key not in ('params', 'lr_mult', 'decay_mult')}
            scale, token = 1.0, False
            if start is not None:
                layer, layers = backbones[start].get_layer_depth(name, start)
                scale = self.rate ** (layers - 1 - layer)
                token = name.removeprefix(start) in getattr(backbones[start], 'no_weight_decay', set)()
            # mmengine gives whatever has a custom key the whole weight decay, if the key says nothing of it
            flat = custom is not None and single['params'][0].ndim <= 1
            if (token or flat) and 'decay_mult' not in (custom or {}):
                options['weight_decay'] = 0.0
            options['lr'] = options.get('lr', self.base_lr) * scale
            options.setdefault('weight_decay', self.base_wd)
            group = groups.setdefault(repr(sorted(options.items())), {'params': [], 'param_names': [], **options})
            group['params'] += single['params']
            group['param_names'].append(name)
        for group in groups.values():
            print_log(
                f'lr={group["lr"]:.4g} weight_decay={group["weight_decay"]}: {len(group["params"])} parameters, '
                f'such as {group["param_names"][0]}',
                logger='current',
                level=logging.INFO,
            )
        return list(groups.values())

    def _custom_key(self, name: str) -> dict | None:
        """What custom_keys says of a parameter; of several keys the longest counts, as in mmengine."""
        keys = self.paramwise_cfg.get('custom_keys', {})
        matching = sorted((key for key in sorted(keys) if key in name), key=len, reverse=True)
        return keys[matching[0]] if matching else None


def _backbones(model: nn.Module) -> Mapping[str, nn.Module]:
    """The parts of the model that know their layers, by the start of their parameters' names."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        start = f'{name}.' if name else ''
        # of the class: a compiled module answers for the one inside it, whose parameters have other names
        if hasattr(type(module), 'get_layer_depth') and not any(start.startswith(other) for other in found):
            found[start] = module
    return found
