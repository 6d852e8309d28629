"""The kernels alone, under the compiler's sanitizers."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .helpers import each


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
    # memory that nobody wrote is NaN: who reads it passes it on
    fill = {"ASAN_OPTIONS": "max_malloc_fill_size=1000000000:malloc_fill_byte=255"}
    ran = subprocess.run(
        [str(program)], env={**os.environ, **fill}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) == 192
