"""Registers of the kernels of `Fused` on a GPU, as ptxas reports them."""

import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


ENVIRONMENT = {"MOSAIC_GPU_DUMP_PTXAS": "1"}
"""Makes JAX print the report of ptxas; it must be set before JAX is loaded."""


@contextmanager
def reported() -> Iterator[list[str]]:
    """Collects what libraries print in a list, and keeps it from the terminal."""
    lines: list[str] = []
    flush = ctypes.CDLL(None).fflush
    sys.stdout.flush()
    saved = {out: os.dup(out) for out in (1, 2)}
    with tempfile.TemporaryFile() as file:
        for out in saved:
            os.dup2(file.fileno(), out)
        try:
            yield lines
        finally:
            flush(None)  # the buffers of C
            for out, old in saved.items():
                os.dup2(old, out)
                os.close(old)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


def of_kernels(report: list[str]) -> dict[str, list[int]]:
    """The registers of a thread, and the bytes that it spills, of each kernel in a report."""
    text = "\n".join(report)
    used = [int(n) for n in re.findall(r"Used (\d+) registers", text)]
    spilled = [int(n) for n in re.findall(r"(\d+) bytes spill stores", text)]
    # other functions of a kernel come first
    return {"registers": used, "spilled": spilled[len(spilled) - len(used) :]}


def spills(kernels: dict[str, Any]) -> list[str]:
    """Kernels that do not keep their values in registers, or that ptxas did not report."""
    if not kernels:
        return []
    if len(kernels["registers"]) != 2:
        count = len(kernels["registers"])
        return [
            f"ptxas reports {count} kernels; a forward and a backward one are expected"
        ]
    return [f"a kernel spills {n} bytes of a thread" for n in kernels["spilled"] if n]
