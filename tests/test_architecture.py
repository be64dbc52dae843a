"""Imports point one way, and the core needs torch and numpy alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import data_parameters

SOURCE = Path(data_parameters.__file__).parent
# What each part may import from the package; `__init__` re-exports the core.
CORE = {
    "functional": set(),
    "storage": set(),
    "distributed": set(),
    "indexing": set(),
    "noise": set(),
    "issues": {"dynamics"},
    "monitor": set(),
    "rows": set(),
    "dynamics": {"distributed", "rows", "storage"},
    "lookup": {"rows"},
    "parameters": {"lookup", "storage", "distributed"},
    "optim": {"distributed", "storage"},
}
EVERYTHING_BELOW = {*CORE, "data_parameters"}
# The report shows what it is given: the training fills it, and not the other way round.
APPLICATION = {
    "report": EVERYTHING_BELOW,
    "training": {*EVERYTHING_BELOW, "report"},
    "integrations": EVERYTHING_BELOW,
    "cli": {*EVERYTHING_BELOW, "training"},
    "__main__": {"cli"},
}
ALLOWED = {**CORE, **APPLICATION, "__init__": set(CORE)}


def parts_imported(source: str) -> set[str]:
    """The parts of this package that a module imports anywhere in its text."""
    parts = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = [module]
            if module == "data_parameters":
                names = [f"data_parameters.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            assert not name.startswith("."), f"imports are absolute: {name}"
            if name.split(".")[0] == "data_parameters":
                part = name.split(".")[1] if "." in name else "data_parameters"
                parts.add(part if part in ALLOWED else "data_parameters")
    return parts


def part_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=str)
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(path)
    forbidden = parts_imported(path.read_text()) - ALLOWED[part] - {part}
    assert not forbidden, f"{part} should not import {forbidden}"


def test_the_test_can_fail() -> None:
    assert parts_imported("def f():\n    from data_parameters.training import loop") == {"training"}
    assert parts_imported("from data_parameters import functional") == {"functional"}
    assert parts_imported("import data_parameters.cli as c") == {"cli"}


def modules_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    return {name.split(".")[0] for name in output.split()}


HEAVY = {"sklearn", "matplotlib", "rich", "tyro", "pandas", "torchvision", "scipy"}


def test_importing_brings_torch_and_numpy_alone() -> None:
    brought = modules_after("import data_parameters") - modules_after("import torch, numpy")
    assert brought - sys.stdlib_module_names == {"data_parameters"}
    assert not HEAVY & modules_after("import data_parameters")


def test_the_import_test_can_fail() -> None:
    assert HEAVY & modules_after("import data_parameters, sklearn")
