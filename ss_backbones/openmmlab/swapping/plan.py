"""What changes in a config with its backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config

from ...errors import UsageError
from .maps import Maps, maps_of
from .recipe import change_recipe, value_at

# Backbones that are part of an idea, and what the idea is: another in their place would not be it, or not run.
_OWN_IDEA = {
    'SSDVGG': 'SSD puts its extra maps inside its VGG',
    'Darknet': "YOLOv3's neck and head are built around Darknet",
    'CSPDarknet': "YOLOX's neck and head are scaled with its CSPDarknet",
    'HourglassNet': 'its heads are trained on every hourglass of the stack',
    'DetectoRS_ResNet': 'DetectoRS feeds its pyramid back into the backbone',
    'DetectoRS_ResNeXt': 'DetectoRS feeds its pyramid back into the backbone',
    'TridentResNet': 'TridentNet is the branches inside of its backbone',
    'BiSeNetV1': 'the network is two paths, of which one is the backbone',
    'BiSeNetV2': 'the network is two paths that the backbone joins',
    'ICNet': 'the network is a cascade of image sizes inside of the backbone',
    'STDCContextPathNet': 'the network is paths that the backbone joins',
    'CGNet': 'the network is a design of its own, encoder and decoder in one',
    'ERFNet': 'the network is a design of its own, encoder and decoder in one',
    'FastSCNN': 'the network is a design of its own, encoder and decoder in one',
    'UNet': 'the network is a design of its own, encoder and decoder in one',
    'DDRNet': 'the network is two branches that the backbone joins',
    'PIDNet': 'the network is three branches that the backbone joins',
    'VPD': 'the backbone is a diffusion model',
}
# Necks and heads that want what a plain ViT alone gives.
_OF_A_VIT = {
    'MLANeck': 'it adds the maps up, so they must have one size and width',
    'DPTHead': "it wants a plain ViT's tokens, class token included",
    'SegmenterMaskTransformerHead': "it is a transformer over a plain ViT's tokens",
    'SSDNeck': "it is SSD's, which builds on the channels of its backbone",
}
_TO_PYRAMID = ('MultiLevelNeck', 'Feature2Pyramid')  # make a pyramid of maps of one size, which others have already
_COUNTS_ALL = ('NASFCOS_FPN',)  # look at the maps from start_level on, and number them from the first all the same
_HANDS_THROUGH = ('JPU',)  # give all maps on but the last
_NO_HEADS = ('backbone', 'neck', 'data_preprocessor', 'train_cfg', 'test_cfg', 'language_model', 'init_cfg')
Path = tuple[str | int, ...]  # keys, and numbers inside of lists


@dataclass
class Plan:
    """A child config's contents, and the reasons for them.

    Args:
        backbone: The new backbone, as the child says it.
        out_indices: Which of its maps are taken.
        changes: Other values that the child sets, by their paths in the config.
        notes: What was changed and why, a sentence each.
    """

    backbone: dict[str, Any]
    out_indices: tuple[int, ...] = ()
    root: Path = ('model',)
    changes: dict[Path, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def plan_swap(
    config: Config,
    name: str,
    library: str,
    backbone: Mapping[str, Any],
    *,
    keep_optimizer: bool = False,
) -> Plan:
    """What a config must say to have another backbone.

    Args:
        config: The config, with what it inherits.
        name: Its name, for errors.
        library: 'mmdet' or 'mmseg'.
        backbone: The new backbone's dict, without ``out_indices``.
        keep_optimizer: Leave the optimiser as it is.

    Raises:
        UsageError: The config has no backbone, one that is part of an idea, or maps for which the new one has none.
    """
    root = _root_of(config, name)
    model = value_at(config, root)
    old_backbone = model['backbone']
    _check_idea(old_backbone, model, name)
    new = maps_of({**backbone, 'type': f'ss_backbones.{backbone["type"]}'}, library)
    if new is None:
        raise UsageError(f'{name}: the maps of {backbone["type"]} cannot be found out.')
    old = maps_of(old_backbone, library) or _maps_by_consumers(model, new)
    if old is None:
        raise UsageError(
            f'{name}: the maps of its backbone {old_backbone.get("type")} cannot be found out: it cannot be built, '
            'and nothing that takes them says their channels.'
        )
    plan = Plan(dict(backbone), root=root)
    taken = _matching_maps(old, new, name, plan)
    _change_consumers(model, old, new, taken, plan, name)
    change_recipe(config, library, plan, keep_optimizer)
    return plan


def _root_of(config: Config, name: str) -> Path:
    """Where the detector or segmenter stands: the model, or the detector inside of a tracker or a teacher."""
    for root in (('model',), ('model', 'detector')):
        found = value_at(config, root)
        if isinstance(found, Mapping) and isinstance(found.get('backbone'), Mapping):
            return root
    raise UsageError(f'{name} has no model.backbone, so there is nothing to swap.')


def _check_idea(backbone: Mapping[str, Any], model: Mapping[str, Any], name: str) -> None:
    kind = str(backbone.get('type')).rpartition('.')[2]
    if kind in _OWN_IDEA:
        raise UsageError(f'{name}: {kind} cannot be swapped: {_OWN_IDEA[kind]}.')
    parts = [part for key in ('neck', 'decode_head') for part in _parts(model.get(key))]
    for part in parts:
        if part.get('type') in _OF_A_VIT:
            raise UsageError(
                f'{name}: its backbone cannot be swapped below a {part["type"]}: {_OF_A_VIT[part["type"]]}.'
            )
    roi_head = model.get('roi_head')
    if isinstance(roi_head, Mapping) and roi_head.get('shared_head'):
        raise UsageError(
            f"{name}: its backbone cannot be swapped: the last stage of {kind} is the box head's (C4). Take a config "
            'with an FPN.'
        )


def _maps_by_consumers(model: Mapping[str, Any], new: Maps) -> Maps | None:
    """What the neck or the heads want, for a backbone of a library that is not installed: strides by position."""
    parts = (*_necks(model), *(head for _, head in _heads(model)))
    wanted = next((part['in_channels'] for part in parts if _is_list(part)), None)
    if wanted is None or len(wanted) > len(new.strides):
        return None
    return Maps(tuple(wanted), new.strides[len(new.strides) - len(wanted) :])


def _is_list(part: Mapping[str, Any]) -> bool:
    return isinstance(part.get('in_channels'), list | tuple)


def _matching_maps(old: Maps, new: Maps, name: str, plan: Plan) -> tuple[int, ...]:
    """Which of the new maps stand for the old ones."""
    if old.is_pyramid:
        missing = [stride for stride in old.strides if stride not in new.strides]
        if missing:
            raise UsageError(
                f'{name}: its backbone gives {old}, and {plan.backbone["type"]} has {new}: none at stride '
                f'{", ".join(map(str, missing))}.'
            )
        return tuple(new.strides.index(stride) for stride in old.strides)
    if len(old.strides) > len(new.strides):
        raise UsageError(f'{name}: its backbone gives {old}, and {plan.backbone["type"]} has only {new}.')
    taken = tuple(range(len(new.strides) - len(old.strides), len(new.strides)))
    plan.notes.append(
        f'The old maps ({old}) are replaced by position, as the new ones are a pyramid: '
        f'{", ".join(f"stride {new.strides[i]}" for i in taken)}.'
    )
    return taken


def _necks(model: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return _parts(model.get('neck'))


def _parts(value: Any) -> list[Mapping[str, Any]]:
    return [value] if isinstance(value, Mapping) else list(value or [])


def _heads(model: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Everything in the model with in_channels, but for backbone and neck, and its place."""
    for key, value in model.items():
        if key not in _NO_HEADS:
            yield from _with_channels(value, (key,))


def _with_channels(value: Any, place: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        if 'in_channels' in value:
            yield place, value
        for key, inner in value.items():
            yield from _with_channels(inner, (*place, key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _with_channels(inner, (*place, number))


def _change_consumers(
    model: Mapping[str, Any], old: Maps, new: Maps, taken: tuple[int, ...], plan: Plan, name: str
) -> None:
    """Set the channels of whatever takes the backbone's maps."""
    necks = _necks(model)
    if necks and necks[0]['type'] in _TO_PYRAMID and not old.is_pyramid:
        plan.changes[(*plan.root, 'neck')] = None
        plan.notes.append(
            f'The neck {necks[0]["type"]} is left out: it makes a pyramid, and the new backbone gives one.'
        )
        given = (necks[0]['out_channels'],) * len(taken) if 'out_channels' in necks[0] else old.channels
        _change_heads(model, given, new, taken, plan, name)
        return
    first = next((neck for neck in necks if 'in_channels' in neck), None)
    if first is None:
        _change_heads(model, old.channels, new, taken, plan, name)
        return
    wanted = first['in_channels']
    skipped = first.get('start_level', 0) if _is_list(first) and first['type'] not in _COUNTS_ALL else 0
    many = list(wanted) if _is_list(first) else [wanted]
    if many not in ([*old.channels], [*old.channels][::-1], [old.channels[-1]]):
        raise UsageError(
            f'{name}: its neck {first["type"]} takes in_channels={wanted}, and not those of its backbone ({old}).'
        )
    kept = taken[skipped:] if many == [*old.channels] else taken
    channels = [new.channels[i] for i in kept]
    if many == [*old.channels][::-1]:
        channels = channels[::-1]
    change: dict[str, Any] = {'in_channels': type(wanted)(channels) if _is_list(first) else channels[-1]}
    if skipped and many == [*old.channels]:
        change['start_level'] = 0
        if first.get('end_level', -1) > 0:
            change['end_level'] = first['end_level'] - skipped
        plan.notes.append(
            f'The neck starts at level {skipped}, so what is finer is not taken at all (start_level=0): what nothing '
            'uses would get no gradient.'
        )
    if not _is_list(first) and len(kept) > 1:
        kept = kept[-1:]
    plan.out_indices = kept
    plan.notes.append(f'The neck {first["type"]} takes {change["in_channels"]} channels in place of {wanted}.')
    if first['type'] in _HANDS_THROUGH:
        _change_heads(model, (*old.channels[:-1], 0), new, kept, plan, name, needed=False)
    place = ('neck',) if isinstance(model['neck'], Mapping) else ('neck', necks.index(first))
    _set_inside(model, {place: change}, plan)


def _change_heads(
    model: Mapping[str, Any],
    old: Sequence[int],
    new: Maps,
    taken: tuple[int, ...],
    plan: Plan,
    name: str,
    needed: bool = True,
) -> None:
    """Set the channels of heads that take the maps themselves; ``needed`` says that there must be some."""
    count = len(old)
    used: set[int] = set() if needed else set(range(count))
    found: list[tuple[Path, Mapping[str, Any], int | list[int], dict[str, Any]]] = []
    for place, head in _heads(model):
        wanted = head['in_channels']
        many = _is_list(head)
        index = head.get('in_index', tuple(range(count)) if many else -1)
        indices = [i % count for i in (index if isinstance(index, list | tuple) else [index])]
        if [old[i] for i in indices] != (list(wanted) if many else [wanted] * len(indices)):
            continue
        used |= set(indices)
        change = {'in_channels': [new.channels[taken[i]] for i in indices] if many else new.channels[taken[indices[0]]]}
        if head.get('num_convs') == 0 and head.get('channels') == wanted:  # mmseg's FCNHead without convolutions
            change['channels'] = change['in_channels']
        if 'c1_in_channels' in head:
            used.add(0)
            change['c1_in_channels'] = new.channels[taken[0]]
        found.append((place, head, indices if many else indices[0], change))
    if not found:
        if not needed:
            return
        raise UsageError(
            f'{name}: nothing in the model takes the maps of its backbone ({", ".join(map(str, old))} channels).'
        )
    keep = sorted(used)
    for place, head, index, change in found:
        if 'in_index' in head or keep != list(range(count)):
            new_index = [keep.index(i) for i in index] if isinstance(index, list) else keep.index(index)
            if head.get('in_index', -1) != new_index:
                change['in_index'] = new_index
        plan.notes.append(f'{".".join(map(str, place))} takes {change["in_channels"]} channels.')
    plan.out_indices = tuple(taken[i] for i in keep)
    _set_inside(model, {place: change for place, _, _, change in found}, plan)


def _set_inside(model: Mapping[str, Any], changes: Mapping[Path, Mapping[str, Any]], plan: Plan) -> None:
    """Plan other values for parts of the model, by their places."""
    for top in dict.fromkeys(place[0] for place in changes):
        inside = {place[1:]: change for place, change in changes.items() if place[0] == top}
        if any(isinstance(key, int) for place in inside for key in place):  # a list cannot be changed in part
            whole = deepcopy(model[top])
            for place, change in inside.items():
                _inside(whole, place).update(change)
            plan.changes[(*plan.root, top)] = whole
        else:
            for place, change in inside.items():
                plan.changes |= {(*plan.root, top, *place, key): value for key, value in change.items()}


def _inside(value: Any, place: Path) -> Any:
    for key in place:
        value = value[key]
    return value
