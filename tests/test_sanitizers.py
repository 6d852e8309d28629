"""The C++ kernels without JAX, under the compiler's sanitizers."""

import os
import shutil
import subprocess
from pathlib import Path

import jaxlib
import pytest

from jaxrnn.kernels import _native

from .helpers import each


pytestmark = pytest.mark.full

HERE = Path(__file__).parent
SOURCES = HERE.parent / "jaxrnn" / "kernels" / "native"


@pytest.fixture(scope="module")
def compiler():
    found = shutil.which("g++") or shutil.which("c++")
    assert found, "the tests of the kernels need a C++17 compiler, such as g++"
    return found


@each("sanitizer", ["address,undefined", "thread"])
def test_the_kernels_are_clean_under(sanitizer, compiler, tmp_path):
    program = tmp_path / "sanitize"
    options = f"-std=c++17 -O1 -g1 -pthread -Wno-psabi -fsanitize={sanitizer}"
    subprocess.run(
        [
            compiler,
            *options.split(),
            "-fno-sanitize-recover=all",
            f"-I{SOURCES}",
            str(HERE / "native" / "sanitize.cc"),
            "-o",
            str(program),
        ],
        check=True,
    )
    # new memory is filled with NaN, so that a read before a write shows in the results
    fill = {"ASAN_OPTIONS": "max_malloc_fill_size=1000000000:malloc_fill_byte=255"}
    ran = subprocess.run(
        [str(program)], env={**os.environ, **fill}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == list(_native.ops())


def test_no_call_of_the_handlers_reaches_memory_that_is_not_its_own(compiler, tmp_path):
    """Makes 20,000 calls of the handlers, as XLA calls them; see `native/fuzz.cc`."""
    program = tmp_path / "fuzz"
    options = "-std=c++17 -O0 -g1 -pthread -w -fsanitize=address,undefined"
    command = [compiler, *options.split(), "-fno-sanitize-recover=all"]
    include = Path(jaxlib.__file__).parent / "include"
    command += ["-isystem", str(include), f"-I{SOURCES}"]
    command += [str(HERE / "native" / "fuzz.cc"), "-o", str(program)]
    subprocess.run(command, check=True)
    ran = subprocess.run([str(program), "20000"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    valid, succeeded, refused = map(int, ran.stdout.split())
    assert valid > 3000 and refused > 8000
    assert succeeded >= valid and succeeded + refused == 20000
