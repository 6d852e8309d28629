"""A contender in its worker process: the requests of the harness, answered by a peer."""

import dataclasses
import gc
import os
import sys
from pathlib import Path
from typing import Any

from . import peers
from .cases import Case, case_from_json
from .peers._base import Peer, Program
from .problem import make_problem
from .verify import Reference, Verdict


CONTENDER = "benchmarks.contender:open_contender"
SOLVER = "benchmarks.contender:Solver"


class Contender:
    """One peer, with the program of one case at a time."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.program: Program | None = None

    @property
    def prepared(self) -> bool:
        """Whether a program is ready to run."""
        return self.program is not None

    def hello(self) -> dict[str, Any]:
        """The peer's title and version, and why it cannot run here, if so."""
        peer, absent = self.peer, self.peer.absent()
        about = {"title": peer.title, "version": peer.version(), "spins": peer.spins}
        return about | ({"absent": absent} if absent else {})

    def accept(self, spec: dict) -> dict[str, Any]:
        """The kind that the peer computes in this case, or why it computes none."""
        try:
            return {"computes": self.peer.computes(case_from_json(spec)).kind}
        except NotImplementedError as reason:
            return {"refused": str(reason)}

    def prepare(
        self, spec: dict, computes: str, reference: str | None, compiled: str
    ) -> dict[str, Any]:
        """Compiles a case and gates it; a program that fails the gate is dropped.

        Without a reference, the case was gated before, and `compiled` may have the
        programs compiled then.
        """
        self.release()
        case = case_from_json(spec).of_kind(computes)
        if not case.compile_time:
            _keep_compiled(compiled)
        if case.single_steps:
            _take_one_core()
        problem = make_problem(case)
        try:
            program = self.peer.build(case, problem)
        except NotImplementedError as reason:
            return {"refused": str(reason)}
        if reference is None:
            self.program = program
            gc.collect()
            return {}
        verdict = program.judge(case, problem, Reference.load(Path(reference)))
        if not verdict.red:
            self.program = program
        gc.collect()
        return _account(case, program, verdict)

    def run(self, figure: str) -> None:
        """Runs one call of a figure."""
        if self.program is None:
            raise RuntimeError("no case is prepared")
        self.program.run(figure)

    def memory(self, spec: dict, computes: str) -> dict[str, Any]:
        """Resident bytes before, and at the peak of, the first forward and backward."""
        case = case_from_json(spec).of_kind(computes)
        problem = make_problem(case)
        gc.collect()
        before = _status("VmRSS")
        program = self.peer.build(dataclasses.replace(case, figures=()), problem)
        program.run("backward")
        return {"before": before, "peak": _status("VmHWM")}

    def release(self) -> dict[str, Any]:
        """Drops the program."""
        self.program = None
        gc.collect()
        return {}


class Solver:
    """Writes the reference answers, by `Scan()` in float64."""

    prepared = False

    def __init__(self) -> None:
        from . import reference  # here, so that PyTorch's process never imports JAX

        self._reference = reference

    def hello(self) -> dict[str, Any]:
        """The device that JAX computes on."""
        return self._reference.device()

    def solve(self, spec: dict, computes: str, path: str) -> dict[str, Any]:
        """Solves a case and writes its answers."""
        case = case_from_json(spec).of_kind(computes)
        self._reference.write_reference(case, Path(path))
        return {}


def open_contender(name: str) -> Contender:
    """The contender of a name; raises ImportError if its library is not installed."""
    return Contender(peers.load(name))


def _account(case: Case, program: Program, verdict: Verdict) -> dict[str, Any]:
    """The facts of a program besides its times."""
    return {
        "compile_seconds": program.compile_seconds if case.compile_time else {},
        "temporary_bytes": program.temporary_bytes,
        "note": program.note,
        "gate": {
            "red": list(verdict.red),
            "shown": str(verdict),
            "errors": verdict.errors,
            "bounds": verdict.bounds,
        },
    }


def _take_one_core() -> None:
    """Restricts the process to one core, before any thread starts.

    A single step is too short to be shared among threads. Waking a second one costs more
    than the step, and by chance four times as much.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _keep_compiled(folder: str) -> None:
    """Has JAX store its compiled programs in a folder, and read them from it."""
    jax = sys.modules.get("jax")
    if jax is None:
        return
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _status(field: str) -> int | None:
    """Bytes in a field of Linux's account of this process; None on other systems.

    Not `ru_maxrss`: a process inherits the value of the process that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None
