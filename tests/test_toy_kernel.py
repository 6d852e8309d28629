"""Follows the recipe for a kernel in CONTRIBUTING.md to the letter, in a copy of the package.

The test builds the library of the copy, so it fails without CMake and a C++17 compiler.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import jaxlib
import pytest


ROOT = Path(__file__).parents[1]

CELL = '''
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._layer import Cell


class LeakyParams(NamedTuple):
    w: Any
    u: Any
    b: Any
    leak: Any


@dataclass(frozen=True)
class Leaky(Cell[Any, Any]):
    """h' = leak tanh(W x + U h + b) + (1 - leak) h."""

    input_size: int
    hidden_size: int

    def init(self, key):
        draw = lambda i, *shape: 0.5 * jax.random.normal(jax.random.fold_in(key, i), shape)
        size = self.hidden_size
        w, u = draw(0, self.input_size, size), draw(1, size, size)
        return LeakyParams(w, u, draw(2, size), draw(3, size))

    def initial_state(self, params):
        return jnp.zeros(self.hidden_size, params.w.dtype)

    def project(self, params, x):
        return x @ params.w + params.b

    def recur(self, params, state, z):
        n = jnp.tanh(z + state @ params.u)
        return params.leak * n + (1 - params.leak) * state
'''

STRUCT = """
struct Leaky : Defaults {
  static constexpr int gates = 1, vectors = 1, saved = 1;

  template <class S>
  static void forward(S& s) {
    const auto leak = s.v[0], n = tanh_of(s.z[0]);
    s.h_new = leak * n + (1 - leak) * s.h;
    s.saved[0] = n;
  }

  template <class S>
  static void backward(S& s) {
    const auto leak = s.v[0], n = s.saved[0];
    s.dz[0] = s.dh * leak * (1 - n * n);
    s.dv[0] = s.dh * (n - s.h);
    s.direct = s.dh * (1 - leak);
  }
};

"""

STEP = '''

def leaky(z, state, u, vectors):
    """h' = leak tanh(z + h U) + (1 - leak) h."""
    (h,), (leak,) = state, vectors
    return (leak[None] * jnp.tanh(z + h @ u) + (1 - leak[None]) * h,)
'''

CHECKS = """
import importlib.machinery, sys
# before the finder of an editable install, which would find the original
sys.meta_path.insert(0, importlib.machinery.PathFinder)
sys.path.insert(0, sys.argv[1])
import jax, jax.numpy as jnp, jaxrnn
assert jaxrnn.__file__.startswith(sys.argv[1]), jaxrnn.__file__
from jaxrnn.cells._leaky import Leaky
from tests import test_kernels as kernels

assert list(kernels.OPS)[-1] == "leaky"
cell = Leaky(3, 5)
assert "runs          Fused()" in str(jaxrnn.explain(cell, (13, 3, 3)))
options = ["lengths", "mask", "resets", "reverse"]
jaxrnn.testing.check_strategy(jaxrnn.Fused(), cell, options, time=13, batch=3)
for sizes, mask in zip(kernels.SIZES, kernels.MASKS, strict=True):
    kernels.check("leaky", sizes, mask, jnp.float32, 2e-5)
    with jax.enable_x64(True):
        kernels.check("leaky", sizes, mask, jnp.float64, 1e-12)
print("all equal")
"""


def insert(file, before, text):
    """Inserts `text` before the only match of the pattern `before`."""
    whole = file.read_text()
    (found,) = re.finditer(before, whole, re.MULTILINE)
    file.write_text(whole[: found.start()] + text + whole[found.start() :])


def add_the_kernel(package):
    (package / "cells" / "_leaky.py").write_text(CELL)
    cells = package / "kernels" / "native" / "cells.h"
    insert(cells, r"^// Every cell that has a kernel\.", STRUCT.lstrip())
    insert(cells, r"^}\n\n}  // namespace", '  visit("leaky", Leaky{});\n')
    reference = package / "kernels" / "reference.py"
    reference.write_text(reference.read_text() + STEP)
    table = package / "strategies" / "kernel_table.py"
    insert(table, r"^from \.\.kernels import", "from ..cells._leaky import Leaky\n")
    insert(table, r'^}\n"""', '    Leaky: lambda cell: Row("leaky", ("leak",)),\n')


def build(package, folder):
    """Builds one instruction set without optimization, which is quick and just as correct."""
    include = Path(jaxlib.__file__).parent / "include"
    options = ["-DJAXRNN_PORTABLE=ON", "-DCMAKE_BUILD_TYPE=Debug"]
    options += [f"-DJAXRNN_XLA_INCLUDE={include}"]
    sources = ["-S", str(package / "kernels" / "native"), "-B", str(folder)]
    subprocess.run(["cmake", *sources, *options], check=True)
    subprocess.run(["cmake", "--build", str(folder), "--parallel", "2"], check=True)
    (package / "kernels" / "lib").mkdir(exist_ok=True)
    shutil.copy(folder / "libjaxrnn.so", package / "kernels" / "lib")


@pytest.mark.slow
def test_a_kernel_by_the_recipe(tmp_path):
    package = tmp_path / "jaxrnn"
    shutil.copytree(ROOT / "jaxrnn", package, ignore=shutil.ignore_patterns("lib"))
    add_the_kernel(package)
    build(package, tmp_path / "build")
    command = [sys.executable, "-c", CHECKS, str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "all equal\n"
