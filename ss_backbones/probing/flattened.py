"""A flattened config's text as values, without running it: it comes with a checkpoint, which may be anybody's."""

import ast

from mmengine.config import Config


def parse_flattened(text: str) -> Config:
    """The config that mmengine wrote as this text (``Config.pretty_text``).

    Raises:
        ValueError: It is another program than one that gives values to names.
    """
    try:
        values = {}
        for statement in ast.parse(text).body:
            if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
                raise ValueError(f'line {statement.lineno} is no "name = value"')
            values[statement.targets[0].id] = _value(statement.value)
        return Config(values)
    except (SyntaxError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f'{type(error).__name__}: {error}') from error


def _value(node: ast.expr) -> object:
    """What is written there: a literal, or ``dict(...)`` of such."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        values = {}
        for item in node.args:
            values.update(_value(item))
        return values | {item.arg: _value(item.value) for item in node.keywords}
    if isinstance(node, ast.Dict) and None not in node.keys:  # None stands for ** there
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.List | ast.Tuple):
        return (list if isinstance(node, ast.List) else tuple)(_value(item) for item in node.elts)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f'line {node.lineno} has {ast.unparse(node)[:40]!r}, which is no plain value') from None
