"""Imports point down only: the order of the packages that design and docs promise."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / 'ss_backbones'
# From the top down. What stands in one row does not import from its neighbours.
LAYERS = [
    ['__init__', '__main__'],
    ['commands'],
    ['probing', 'compress', 'deploy.onnx', 'classification', 'benchmark', 'doctor'],
    ['openmmlab'],
    ['training'],
    ['timm_models'],
    ['checkpoints', 'data_faults'],
    ['networks', 'deploy'],
    ['layers'],
    ['settings', 'output_files', 'tables', 'complexity', 'version', 'registry'],
    ['errors', 'environment'],
]
ALLOWED = {('__main__', 'commands'), ('__init__', 'version')}


def part_of(module: str) -> str:
    """The part of the package that a module, named from the package's root, belongs to."""
    names = module.split('.')
    if names[0] == 'deploy':
        return 'deploy.onnx' if names[1:2] == ['onnx'] else 'deploy'
    return names[0] or '__init__'


def imports() -> list[tuple[str, str]]:
    """Module and imported module, both named from the package's root; those for type checkers alone are left out."""
    found = []
    for file in ROOT.rglob('*.py'):
        names = [*file.relative_to(ROOT).with_suffix('').parts]
        package = names[:-1]
        tree = ast.parse(file.read_text())
        checking = {
            node
            for branch in ast.walk(tree)
            if isinstance(branch, ast.If) and ast.unparse(branch.test) == 'TYPE_CHECKING'
            for node in ast.walk(branch)
        }
        for node in ast.walk(tree):
            if node in checking:
                continue
            if isinstance(node, ast.ImportFrom):
                if node.level:
                    target = [*package[: len(package) - node.level + 1], *(node.module or '').split('.')]
                elif (node.module or '').split('.')[0] == 'ss_backbones':
                    target = node.module.split('.')[1:]
                else:
                    continue
                target = [name for name in target if name]
                if not target and names == ['__init__']:
                    continue  # of the package's own modules by name
                for alias in node.names if not target or target == ['deploy'] else [None]:
                    found.append(('.'.join(names), '.'.join([*target, alias.name] if alias else target)))
    return found


def test_imports_point_down() -> None:
    rank = {part: number for number, row in enumerate(LAYERS) for part in row}
    wrong = []
    for module, target in imports():
        a, b = part_of(module.removesuffix('.__init__')), part_of(target)
        if a == b or (a, b) in ALLOWED or b == 'register':
            continue
        if rank[b] <= rank[a]:
            wrong.append(f'{module} imports {target}')
    assert not wrong, '\n'.join(wrong)


def test_every_module_has_its_place() -> None:
    known = {part for row in LAYERS for part in row}
    there = {part_of('.'.join(file.relative_to(ROOT).with_suffix('').parts)) for file in ROOT.rglob('*.py')}
    assert there <= known
