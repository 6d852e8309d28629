"""One case: every contender in this process, gated, then timed by turns, twice.

Contenders share a process here, unlike in `benchmarks run`: on a GPU they do not compete for
the cores, and starting JAX for each of them would take most of the time of a short run.
"""

import dataclasses
import functools
import gc
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from .. import peers
from ..cases import Case
from ..peers._base import Peer, Program
from ..problem import make_problem
from ..reference import make_reference
from ..verify import Reference
from .lines import Say, brief


ROUNDS = 20
TABLES = 2

DENSE = (
    "torch",
    "jaxrnn-auto",
    "jaxrnn-hoisted",
    "jaxrnn-scan",
    "jaxrnn-fused",
    "jaxrnn-cudnn",
    "cudnn",
    "linen",
    "nnx",
)
MATRIX = ("jaxrnn-auto", "jaxrnn-chunked", "jaxrnn-scan", "jaxrnn-hoisted")
HALF = "torch-float16"
"""PyTorch in float16, which is gated like bfloat16: the same inputs, exact in both."""

_TF32 = 8 * 2.0**-11
"""Eight times the rounding of TF32: the gate's slack, times its yardstick."""

_RISKY = ("jaxrnn-fused", "jaxrnn-cudnn", "cudnn")
"""Contenders with kernels of their own, which can end the process."""


# gated and built by several contenders, none of which changes it
_problem = functools.lru_cache(maxsize=4)(make_problem)


class Times:
    """The times of all contenders in one figure, in milliseconds, by table."""

    def __init__(self, names: Iterable[str]) -> None:
        self.tables: list[dict[str, list[float]]] = [
            {name: [] for name in names} for _ in range(TABLES)
        ]

    def lines(self) -> list[dict[str, Any]]:
        """A line for each contender in each table."""
        return [
            {
                "contender": name,
                "table": number,
                "median_ms": statistics.median(times),
                "least_ms": min(times),
                "most_ms": max(times),
                "calls": len(times),
            }
            for number, table in enumerate(self.tables, 1)
            for name, times in table.items()
            if times
        ]


def measure(say: Say, case: Case, without: tuple[str, ...] = ()) -> None:
    """Gates and times the contenders of a case."""
    end = time.monotonic() + float(os.environ.get("DEVICE_SECONDS", 300))
    names = tuple(n for n in contenders(case) if n not in without)
    say(case=dataclasses.asdict(case), name=case.name, without=list(without))
    accepted = _accepted(say, case, names)
    say(doing=[name for name in accepted if name in _RISKY])
    programs, references = _built(say, accepted)
    for name, program in list(programs.items()):
        say(doing=[name])
        if not _gated(say, name, accepted[name][1], program, references):
            del programs[name]
    references.clear()
    gc.collect()
    calls = {name: program.run for name, program in programs.items()}
    take_turns(say, case.figures, calls, end)


def contenders(case: Case) -> tuple[str, ...]:
    """The contenders of a case, in the order of their turns."""
    if case.kind not in ("lstm", "gru"):
        return MATRIX
    return (*DENSE, *((HALF,) if case.dtype == "bfloat16" else ()))


def _accepted(
    say: Say, case: Case, names: tuple[str, ...]
) -> dict[str, tuple[Peer, Case]]:
    """The contenders that run the case, and the variant that each of them computes."""
    found = {}
    for name in names:
        try:
            peer = peers.load("torch" if name == HALF else name)
            if reason := peer.absent():
                raise NotImplementedError(reason)
            found[name] = peer, peer.computes(case)
        except (NotImplementedError, ImportError) as reason:
            say(contender=name, refused=brief(reason))
        except Exception as error:
            say(contender=name, failed=brief(error))
    return found


def _built(
    say: Say, accepted: dict[str, tuple[Peer, Case]]
) -> tuple[dict[str, Program], dict[str, Reference]]:
    """The programs, and the references of their kinds; XLA compiles several at once."""

    def build(name: str) -> Program:
        peer, case = accepted[name]
        used = dataclasses.replace(case, dtype="float16") if name == HALF else case
        return peer.build(used, _problem(case))

    kinds = {case.kind: case for _, case in accepted.values()}
    programs, references = {}, {}
    with ThreadPoolExecutor(min(10, os.cpu_count() or 1)) as pool:
        exact = {kind: pool.submit(_reference, case) for kind, case in kinds.items()}
        started = {name: pool.submit(build, name) for name in accepted}
    for name, future in started.items():
        try:
            programs[name] = future.result()
        except NotImplementedError as reason:
            say(contender=name, refused=brief(reason))
        except Exception as error:
            say(contender=name, failed=brief(error))
    for kind, solved in exact.items():
        try:
            references[kind] = solved.result()
        except Exception as error:
            say(reference=kind, failed=brief(error))
    return programs, references


def _reference(case: Case) -> Reference:
    """The answers in float64; on a GPU, every contender may round matmuls to TF32.

    Its 11 bits are the least yardstick there, since not every library uses it by default.
    """
    found = make_reference(case)
    if jax.default_backend() == "cpu" or case.dtype != "float32":
        return found
    bounds = {name: max(b, _TF32) for name, b in found.bounds.items()}
    return dataclasses.replace(found, bounds=bounds)


def _gated(
    say: Say,
    name: str,
    case: Case,
    program: Program,
    references: dict[str, Reference],
) -> bool:
    """Whether the outputs and every gradient of a contender agree with float64."""
    if case.kind not in references:
        say(contender=name, failed="there is no reference to compare it with")
        return False
    try:
        verdict = program.judge(case, _problem(case), references[case.kind])
    except Exception as error:
        say(contender=name, failed=brief(error))
        return False
    say(
        contender=name,
        computes=case.kind,
        note=program.note,
        gate=str(verdict),
        green=not verdict.red,
        worst=verdict.errors[verdict.worst],
        bound=verdict.bounds[verdict.worst],
        temporary_bytes=program.temporary_bytes,
    )
    return not verdict.red


def take_turns(
    say: Say,
    figures: Iterable[str],
    calls: Mapping[str, Callable[[str], Any]],
    end: float,
) -> None:
    """Times every figure: contenders take turns, a call each, until the time is up."""
    for figure in figures:
        ready = {}
        for name, call in calls.items():
            say(doing=[name], figure=figure)
            try:
                call(figure)  # to warm up
                ready[name] = call
            except Exception as error:
                say(contender=name, figure=figure, failed=brief(error))
        times = Times(ready)
        say(doing=[], figure=figure)
        for table in times.tables:
            for _ in range(ROUNDS):
                if time.monotonic() > end:
                    break
                for name, call in ready.items():
                    start = time.perf_counter()
                    call(figure)
                    table[name].append(1e3 * (time.perf_counter() - start))
        for line in times.lines():
            say(figure=figure, **line)
