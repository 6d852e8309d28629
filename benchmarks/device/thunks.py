"""The launches of XLA in each step of a loop, from its dump of the thunk sequence.

`XLA_FLAGS` must have `--xla_dump_to=FOLDER --xla_dump_hlo_as_text` before JAX starts; XLA
writes the sequence for GPUs only.
"""

import itertools
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jaxrnn

from .lines import Say, brief


_THUNK = re.compile(r"^( *)(\d+): (k\w+)(.*)$")
_TRIPS = re.compile(r'known_trip_count"?[:=]\{"?n"?:"(\d+)"')
_NO_LAUNCH = (
    "kAsyncStart",
    "kAsyncDone",
    "kCommandBuffer",
    "kConditional",
    "kDynamicSliceFusion",
    "kSequential",
    "kWhile",
)
"""Thunks that hold or order others, and launch nothing themselves."""


def launches(sequence: str) -> dict[str, Any]:
    """The launches of a thunk sequence: outside of loops, and in each loop's body.

    Returns:
        `outside`, a number, and `loops`, which has for each loop at the top the
        `launches` of one iteration and how many of them are `in_graphs`.
    """
    outside = 0
    loops: list[dict[str, Any]] = []
    inside: int | None = None  # the indentation of the loop
    graph: int | None = None  # the indentation of the command buffer
    for line in sequence.splitlines():
        if inside is not None and line.strip() in ("condition:", "body:"):
            loops[-1]["part"] = line.strip()[:-1]
        found = _THUNK.match(line)
        if not found:
            continue
        indent, kind = len(found[1]), found[3]
        inside = None if inside is not None and indent <= inside else inside
        graph = None if graph is not None and indent <= graph else graph
        if kind == "kCommandBuffer":
            graph = indent
        if kind == "kWhile" and inside is None:
            inside = indent
            loops.append({"launches": 0, "in_graphs": 0, "part": ""})
        if kind in _NO_LAUNCH:
            continue
        if inside is None:
            outside += 1
        elif loops[-1]["part"] == "body":
            loops[-1]["launches"] += 1
            loops[-1]["in_graphs"] += graph is not None
    for loop in loops:
        del loop["part"]
    return {"outside": outside, "loops": loops}


def trip_counts(program: str) -> list[int]:
    """The known trip counts of the loops of an optimized program, in their order."""
    entry = program[program.find("\nENTRY ") :]
    found = [_TRIPS.search(line) for line in entry.splitlines() if " while(" in line]
    return [int(count[1]) for count in found if count]


def count(say: Say, rehearse: bool) -> None:
    """Writes the launches of an LSTM under `Scan()` and `Hoisted()`."""
    shape = (16, 2, 8) if rehearse else (1024, 16, 768)

    def one(dtype: str, strategy: jaxrnn.Strategy, figure: str) -> None:
        name = f"{figure}_{type(strategy).__name__}_{dtype}"
        about = {"strategy": str(strategy), "figure": figure, "dtype": dtype}
        try:
            program = _compile(name, shape, dtype, strategy, figure)
            found = _of(Path(os.environ["DEVICE_DUMP"]), name)
        except Exception as error:
            say(**about, failed=brief(error))
        else:
            say(**about, steps=shape[0], trips=trip_counts(program), **found)

    strategies = (jaxrnn.Hoisted(), jaxrnn.Scan())
    figures = ("forward", "backward")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        every = itertools.product(("bfloat16", "float32"), strategies, figures)
        list(pool.map(lambda given: one(*given), every))


def _compile(
    name: str, shape: tuple[int, int, int], dtype: str, strategy: Any, figure: str
) -> str:
    """Compiles a program under a name by which its dump is found; returns its text."""
    cell = jaxrnn.LSTM(shape[2], shape[2])
    params = jaxrnn.cast(cell.init(jax.random.key(0)), jnp.dtype(dtype))
    xs = jnp.ones(shape, dtype)

    def forward(params: Any, xs: Any) -> Any:
        return jaxrnn.unroll(cell, params, xs, strategy=strategy)[1]

    def backward(params: Any, xs: Any) -> Any:
        loss = lambda *args: jnp.sum(forward(*args).astype(jnp.float32))
        return jax.grad(loss, (0, 1))(params, xs)

    run = forward if figure == "forward" else backward
    run.__name__ = name
    return jax.jit(run).lower(params, xs).compile().as_text() or ""


def _of(folder: Path, name: str) -> dict[str, Any]:
    """The launches of the program of a name, and the text that they were read from."""
    files = sorted(folder.glob(f"*jit_{name}.*thunk_sequence*.txt"))
    if not files:
        raise ValueError(f"XLA dumped no thunk sequence on {jax.default_backend()}")
    # the passes over thunks make the graphs: the sequence after them, where there is one
    after = [file for file in files if "after" in file.name]
    text = (after or files)[0].read_text(errors="replace")
    return {**launches(text), "sequence": text[:6000]}
