"""The table of which module may import which: downwards only, without circles."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import jaxrnn


PACKAGE = Path(jaxrnn.__file__).parent

# Each room, and the rooms below it that it may import.
BASE = {"_typing", "_arrays", "_sharding", "_validate"}
CELL = {*BASE, "_layer", "_wrapper", "initializers"}
BELOW = {
    "_typing": set(),
    "_arrays": set(),
    "_sharding": set(),
    "_validate": set(),
    "_layer": BASE,
    "_wrapper": {*BASE, "_layer"},
    "initializers": {*BASE, "_layer"},
    "_autodiff": BASE,
    "kernels": BASE,
    "ops": {*BASE, "_autodiff"},
    "cells": {*CELL, "ops"},
    "layers": CELL,
    "_check_step": CELL,
    "_check": {*CELL, "_check_step"},
    "strategies": {*CELL, "_check", "_autodiff", "_partition", "kernels", "ops"},
    "_unroll": {*CELL, "_check", "strategies"},
    "_layouts": {*CELL, "_check", "_unroll"},
    "_partition": BASE,
    "gradients": {*CELL, "_check", "_partition", "_unroll", "strategies"},
    "decode": {*CELL, "_check", "_check_step"},
    "diagnostics": {*CELL, "_check", "_check_step", "_partition", "_unroll", "layers"},
    "training": {*CELL, "_unroll", "diagnostics"},
    "testing": {
        *CELL,
        "_unroll",
        "_check",
        "strategies",
        "layers",
        "cells",
        "gradients",
    },
}
# The one file that knows both cells and kernels.
KERNEL_TABLE = "jaxrnn.strategies.kernel_table"


def modules() -> dict[str, Path]:
    def name(file: Path) -> str:
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        return ".".join(part for part in parts if part != "__init__")

    return {name(file): file for file in PACKAGE.rglob("*.py")}


MODULES = modules()


def imported(name: str) -> set[str]:
    """The modules of the package that a module imports, at any place in it."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            target = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{target}.{alias.name}"
                found.add(inner if inner in MODULES else target)
        assert not (isinstance(node, ast.Import) and "jaxrnn" in ast.unparse(node)), (
            f"{name} imports jaxrnn by its absolute name"
        )
    return found


GRAPH = {name: imported(name) for name in MODULES if name != "jaxrnn"}


def room(name: str) -> str:
    return name.split(".")[1]


@pytest.mark.parametrize("name", GRAPH)
def test_imports_lead_downwards(name):
    allowed = {room(name), *BELOW[room(name)]}
    if name == KERNEL_TABLE:
        allowed |= {"cells", "layers"}
    above = {found for found in GRAPH[name] if room(found) not in allowed}
    assert not above, f"{name} imports {sorted(above)}"


def test_cells_layers_and_strategies_do_not_import_each_other():
    """Except for the shared modules of a package: helpers, and the state of an LSTM."""
    shared = {"_common", "_norm", "_matrix", "_elapsed", "_activation", "_lstm", "_phi"}
    for name, below in GRAPH.items():
        if room(name) == "cells" and name != "jaxrnn.cells":
            own = {
                found.rpartition(".")[2] for found in below if room(found) == "cells"
            }
            assert own <= shared, f"{name} imports {sorted(own - shared)}"


def test_no_module_imports_itself_through_others():
    """Each package counts as its `__init__`, which its modules do not import."""
    graphlib.TopologicalSorter(GRAPH).prepare()


def test_modules_are_imported_at_the_top():
    """An import inside a function hides a circle, or costs the first call its time."""
    for name, file in MODULES.items():
        tree = ast.parse(file.read_text())
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    late = isinstance(node, ast.ImportFrom) and node.level
                    assert not late, f"{name}:{node.lineno} imports in a function"


def test_importing_jaxrnn_imports_nothing_else():
    """Neither JAX nor a module of jaxrnn is imported until one of its names is used."""
    code = (
        "import sys; old = set(sys.modules); import jaxrnn; print(*sys.modules - old)"
    )
    code = code.replace("sys.modules - old", "(set(sys.modules) - old)")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    found = {
        name for name in run.stdout.split() if name.split(".")[0] in ("jax", "jaxrnn")
    }
    assert run.returncode == 0 and found == {"jaxrnn"}, run.stderr or found


def test_what_type_checkers_see_is_what_is_exported():
    """`jaxrnn/__init__.py` lists each name twice: for type checkers, and lazily."""
    tree = ast.parse(MODULES["jaxrnn"].read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {(node.module, alias.name) for node in block.body for alias in node.names}
    lazy = {(module, name) for name, module in jaxrnn._HOME.items()}
    assert seen == lazy | {(None, name) for name in jaxrnn._ROOMS.split()}
