"""The first things that a newcomer meets: imports, docstrings, the README."""

import ast
import contextlib
import doctest
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

import jaxrnn
import jaxrnn.decode
import jaxrnn.diagnostics
import jaxrnn.gradients
import jaxrnn.testing
import jaxrnn.training


ROOT = Path(__file__).parents[1]
ROOMS = [
    jaxrnn,
    jaxrnn.decode,
    jaxrnn.diagnostics,
    jaxrnn.gradients,
    jaxrnn.testing,
    jaxrnn.training,
]
MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(jaxrnn.__path__, "jaxrnn.")
]


@contextlib.contextmanager
def as_users_have_it() -> Iterator[None]:
    """JAX's default promotion, which the examples and optax need."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def public(room) -> list[tuple[str, object]]:
    """The exports of a package, without modules."""
    names = [name for name in dir(room) if not name.startswith("_")]
    things = [(name, getattr(room, name)) for name in names]
    return [(name, thing) for name, thing in things if not inspect.ismodule(thing)]


EXPORTS = [(f"{r.__name__}.{n}", thing) for r in ROOMS for n, thing in public(r)]


@pytest.mark.parametrize("name, thing", EXPORTS, ids=[name for name, _ in EXPORTS])
def test_public_names_are_documented(name, thing):
    text = inspect.getdoc(thing) or ""
    assert len(text) > 20, f"{name} has no docstring"
    assert not re.match(rf"{name.split('.')[-1]}\(.*\)$", text), f"{name}: generated"


def documented_classes() -> list[tuple[str, type]]:
    """The layers and strategies that users construct."""
    bases = (jaxrnn.Layer, jaxrnn.Strategy)
    return [
        (name, thing)
        for name, thing in public(jaxrnn)
        if inspect.isclass(thing)
        and issubclass(thing, bases)
        and not inspect.isabstract(thing)
    ]


@pytest.mark.parametrize(
    "name, thing", documented_classes(), ids=[n for n, _ in documented_classes()]
)
def test_layers_and_strategies_show_an_example(name, thing):
    assert "Example:" in thing.__doc__
    assert ">>> " in thing.__doc__


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_docstring_examples_run(module):
    with as_users_have_it():
        result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


FILES = sorted(ROOT.glob("jaxrnn/**/*.py"))
each_file = pytest.mark.parametrize(
    "file", FILES, ids=lambda file: str(file.relative_to(ROOT))
)


def docstrings(file: Path) -> Iterator[tuple[int, int, str]]:
    """Line, indentation and raw text of each docstring."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, owners) and ast.get_docstring(node) is not None:
            text = node.body[0]
            yield text.lineno, text.col_offset, text.value.value


HEADING = re.compile(r" +(Args|Attributes|Returns|Raises|Example|Reference):")
# Source that a careless replacement left in a docstring; examples start with >>> or "...".
STRAY_CODE = re.compile(
    r" *(from [\w.]+ import |import [\w.]+$|def \w+\(|class \w+[(:])"
)


@each_file
def test_docstrings_are_whole(file):
    """Even indentation, headings at the margin, and no source outside the examples."""
    for number, indentation, text in docstrings(file):
        for line in text.splitlines()[1:]:
            left_out = line.strip() and line[:indentation].strip()
            assert not left_out, f"{file}:{number} is indented less: {line}"
        for line in inspect.cleandoc(text).splitlines():
            assert not HEADING.match(line), f"{file}:{number} is indented more: {line}"
            assert not STRAY_CODE.match(line), f"{file}:{number} has source: {line}"


AVOIDED = (
    r"\bthat (is|are) none\b",
    r"\b(whoever|nobody|anybody|somebody)\b",
    r"\banew\b",
    r"\bstands?\b",
    r"\bbeside\b",
    r"\bin turn\b",
    r"\bapart\b(?! from)",
    r"\bthe way back\b",
    r"\bits own affair\b",
    r"\A(What (is|are|was|were)|That of|Those of)\b",
)


def comments(file: Path) -> Iterator[tuple[int, str]]:
    with file.open() as source:
        for token in tokenize.generate_tokens(source.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


@each_file
def test_words_are_plain(file):
    """Words of CONTRIBUTING's section on style that are easy to find."""
    texts = [(line, text) for line, _, text in docstrings(file)]
    found = [
        f"{file.name}:{line}: {' '.join(match[0].split())}"
        for line, text in [*texts, *comments(file)]
        for pattern in AVOIDED
        for match in re.finditer(pattern, text.strip(), re.IGNORECASE)
    ]
    assert not found


def test_import_pulls_in_only_jax_and_jaxtyping():
    script = (
        "import sys, jax, jax.numpy, jaxtyping; before = set(sys.modules); "
        "import jaxrnn; [getattr(jaxrnn, name) for name in jaxrnn._HOME]; "
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before}"
        " - set(sys.stdlib_module_names)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    new = set(ast.literal_eval(out.stdout))
    assert new <= {"jaxrnn", "jax", "jaxlib", "jaxtyping", "wadler_lindig"}


def test_import_is_quick():
    """In processor time relative to JAX's, in the best of five processes.

    The names are imported when they are asked for: at most 0.04 without them, and 0.6 with
    every one. Ratios, since a slow or busy machine slows both. Bytecode is kept, as it is
    for JAX and for anyone who installs the package.
    """
    script = (
        "import time; now = time.process_time; a = now(); import jax, jax.numpy; b = now(); "
        "import jaxrnn; c = now(); [getattr(jaxrnn, name) for name in jaxrnn._HOME]; "
        "print((c - b) / (b - a), (now() - b) / (b - a))"
    )
    command = [sys.executable, "-c", script]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    run = lambda: subprocess.check_output(command, text=True, env=env).split()
    runs = [run() for _ in range(5)]
    alone, with_names = zip(*((float(a), float(b)) for a, b in runs), strict=True)
    assert min(alone) <= 0.04 and min(with_names) <= 0.6, (alone, with_names)


def test_version_is_that_of_the_package():
    assert re.fullmatch(r"\d+\.\d+\.\d+", jaxrnn.__version__)


def blocks_of(file: str) -> list[str]:
    """The Python blocks of a Markdown file."""
    return re.findall(r"```python\n(.*?)```", (ROOT / file).read_text(), re.DOTALL)


def test_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, object] = {"__name__": "readme"}
    for number, block in enumerate(blocks_of("README.md")):
        named = re.match(r"# ([a-z_]+\.py)\n", block)
        if named:  # a whole file: the new cell
            (tmp_path / named[1]).write_text(block)
            continue
        with as_users_have_it():
            exec(compile(block, f"README block {number}", "exec"), names)
    assert blocks_of("README.md")


def test_the_new_cell_of_the_readme_keeps_the_laws_outside_the_repository(tmp_path):
    """As a user runs it: from another folder, without this repository's settings."""
    (block,) = [b for b in blocks_of("README.md") if b.startswith("# my_cell.py")]
    lines = [line for line in block.splitlines() if line.strip()]
    assert len(lines) <= 31, "the README promises 30 lines under the file's name"
    (tmp_path / "my_cell.py").write_text(block)
    script = "import my_cell, jaxrnn.testing as t; t.check_cell(my_cell.MyCell(3, 4))"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)


def test_nothing_of_the_machine_is_in_the_tree():
    """No absolute paths of this machine in the package or the documents."""
    pattern = re.compile(r"(?<![\w.])/(?:home|root|work|tmp)/\w")
    for file in [*ROOT.glob("*.md"), *ROOT.glob("jaxrnn/**/*.py")]:
        assert not pattern.search(file.read_text()), file


def test_supported_versions():
    assert sys.version_info[:2] >= (3, 11)
    assert jax.__version_info__ >= (0, 10, 2)
