"""The classes that the models of mmdet and mmsegmentation are made of, and configs grouped by them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config
from rich.console import Console
from rich.progress import track
from shipped import shipped

from ss_backbones.errors import UserError
from ss_backbones.openmmlab.configs import read_config

ROLES = ('model', 'head', 'neck', 'constructor')
_ENDS = re.compile('(head|neck)$')  # of the keys in a config


class Part(NamedTuple):
    """A class and what it is for."""

    role: str
    name: str

    def __str__(self) -> str:
        return ':'.join(self)


Place = tuple[str, str]  # a config's library, and its name there


def classes_of(config: Config) -> frozenset[Part]:
    """Models (a detector inside of another too), heads and necks, and what makes the optimiser."""
    inside = [part for part in (config.model, config.model.get('detector')) if part and 'type' in part]
    found = {Part('model', _name(part.type)) for part in inside}
    if constructor := (config.get('optim_wrapper') or {}).get('constructor'):
        found.add(Part('constructor', _name(constructor)))
    return frozenset(found.union(_parts(config.model, '')))


def _parts(value: Any, key: str) -> Iterator[Part]:
    if isinstance(value, Mapping):
        if 'type' in value and (role := _ENDS.search(key)):
            yield Part(role[0], _name(value['type']))
        for inner, part in value.items():
            yield from _parts(part, inner)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _parts(part, key)


def _name(kind: str | type) -> str:
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]


def groups_of(libraries: Sequence[str], match: str) -> dict[Place, frozenset[Part]]:
    """For each backbone and set of classes the config with the shortest name, and these classes."""
    groups: dict[object, Place] = {}
    for library in libraries:
        configs = shipped(library, match)
        for name in track(sorted(configs, key=lambda name: (len(name), name)), library, console=Console(stderr=True)):
            try:
                config = read_config(str(configs[name]), {})
            except UserError:
                continue
            if not (config.get('model') or {}).get('type'):  # a part that others inherit from
                continue
            backbone = (config.model.get('detector') or config.model).get('backbone') or {}
            groups.setdefault((library, str(backbone.get('type')), classes_of(config)), (library, name))
    return {place: classes for (*_, classes), place in groups.items()}
