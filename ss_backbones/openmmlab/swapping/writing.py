"""A child config as text."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

from .plan import Plan

_WIDTH = 118


def child_config(plan: Plan, base: str, origin: str, imports: list[str]) -> str:
    """The text of a config that inherits and says what differs.

    Args:
        plan: What differs.
        base: The config that it inherits from.
        origin: The first line's words, which say where it is from.
        imports: Modules that it imports.
    """
    backbone = {'_delete_': True, **plan.backbone}
    if plan.out_indices:
        backbone['out_indices'] = plan.out_indices
    content: dict[str, Any] = {
        'custom_imports': {'imports': imports, 'allow_failed_imports': False},
        'runner_type': 'ss_backbones.Runner',
    }
    for path, value in {(*plan.root, 'backbone'): backbone, **plan.changes}.items():
        inside = content
        for key in path[:-1]:
            inside = inside.setdefault(key, {})
        inside[path[-1]] = value
    notes = [f'# {line}' for note in (origin, *plan.notes) for line in wrap(note, _WIDTH)]
    parts = [f'{name} = {_text(value, len(name) + 3, 0)}' for name, value in content.items()]
    return '\n'.join((*notes, f'_base_ = {base!r}', '', *parts, ''))


def _text(value: Any, taken: int, depth: int) -> str:
    """A value as Python, over several lines if it does not fit behind what is taken of the first."""
    if isinstance(value, Mapping):
        items = [(f'{key}=', inner) for key, inner in value.items()]
        opening, closing = 'dict(', ')'
    elif isinstance(value, list | tuple) and value:
        items = [('', inner) for inner in value]
        opening, closing = ('[', ']') if isinstance(value, list) else ('(', ')')
    else:
        return repr(value)
    inline = ', '.join(name + _text(inner, 0, 0) for name, inner in items)
    if '\n' not in inline and taken + len(inline) + 7 <= _WIDTH:
        return f'{opening}{inline}{"," * (isinstance(value, tuple) and len(items) == 1)}{closing}'
    margin = ' ' * 4 * (depth + 1)
    lines = [f'{margin}{name}{_text(inner, len(margin + name), depth + 1)},' for name, inner in items]
    return '\n'.join((opening, *lines, margin[4:] + closing))
