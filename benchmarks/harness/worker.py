"""A worker: one contender in a process of its own, awake only when it is asked.

It reads one JSON object a line and answers with one. Thread pools spin after a call and
slow whatever else runs in their process, so no two contenders ever share one; and while a
contender waits on its standard input, it costs nothing.

Each case is served by a fresh fork of a process that has only imported. Whether a large
temporary lies on pages that are there already, or on new ones, depends on what the process
has freed before, and makes half of the time at times: so no case may leave anything behind.

    python -m benchmarks.harness.worker NAME
"""

import dataclasses
import gc
import itertools
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import peers
from ..cases import case_from_json
from ..peers._base import Peer, Program
from ..problem import make_problem
from ..verify import Reference


REFERENCE = "reference"
"""The name of the worker that solves cases in float64 instead of contending."""

_MOST_CALLS = 100_000

_LONG = 0.2
"""Seconds: calls that are longer do not notice cold caches."""


class Worker:
    """One contender's side of the conversation."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.program: Program | None = None

    def hello(self) -> dict[str, Any]:
        """Who it is, or why it cannot run here."""
        absent = self.peer.absent()
        peer = self.peer
        about = {"title": peer.title, "version": peer.version(), "spins": peer.spins}
        return about | ({"absent": absent} if absent else {})

    def accept(self, case: dict) -> dict[str, Any]:
        """The case that it computes for this one, or why there is none."""
        try:
            computed = self.peer.computes(case_from_json(case))
            return {"computes": dataclasses.asdict(computed)}
        except NotImplementedError as reason:
            return {"refused": str(reason)}

    def prepare(
        self, case: dict, compiled: str, reference: str | None
    ) -> dict[str, Any]:
        """Compiles a case that it computes, and gates it. Red, it is thrown away at once.

        Without a reference it was gated before, and `compiled` has what was compiled then.
        """
        self.release()
        wanted = case_from_json(case)
        if not wanted.compile_time:
            _keep_compiled(compiled)
        if wanted.single_steps:
            _take_one_core()
        problem = make_problem(wanted)
        try:
            program = self.peer.build(wanted, problem)
        except NotImplementedError as reason:
            return {"refused": str(reason)}
        if reference is None:
            self.program = program
            gc.collect()
            return {}
        verdict = program.judge(wanted, problem, Reference.load(Path(reference)))
        if not verdict.red:
            self.program = program
        gc.collect()
        return {
            "compile_seconds": program.compile_seconds if wanted.compile_time else {},
            "temporary_bytes": program.temporary_bytes,
            "note": program.note,
            "gate": {
                "red": list(verdict.red),
                "shown": str(verdict),
                "errors": verdict.errors,
                "bounds": verdict.bounds,
            },
        }

    def turn(self, figure: str, seconds: float) -> dict[str, Any]:
        """Runs one figure for some time: the fastest of its calls.

        One call goes before them, since code and data have left the caches while others
        ran: what takes 10 ms may take 40 then. It counts only if it is so long that there
        is no time for another.
        """
        program = self._built()
        gc.disable()
        calls = _timed(program, figure, 0)
        if calls[0] < _LONG:
            calls = _timed(program, figure, seconds)
        gc.enable()
        return {"seconds": min(calls), "calls": len(calls)}

    def memory(self, case: dict) -> dict[str, Any]:
        """Resident bytes before and at the peak of the first forward and backward."""
        wanted = case_from_json(case)
        problem = make_problem(wanted)
        gc.collect()
        before = _status("VmRSS")
        program = self.peer.build(dataclasses.replace(wanted, figures=()), problem)
        program.run("backward")
        return {"before": before, "peak": _status("VmHWM")}

    def release(self) -> dict[str, Any]:
        """Forgets the case."""
        self.program = None
        gc.collect()
        return {}

    def _built(self) -> Program:
        if self.program is None:
            raise RuntimeError("nothing is built")
        return self.program


class Solver:
    """The worker that writes references."""

    def hello(self) -> dict[str, Any]:
        """The device that JAX computes on."""
        import jax

        device = jax.devices()[0]
        return {"platform": device.platform, "device": device.device_kind}

    def solve(self, case: dict, path: str) -> dict[str, Any]:
        """Solves a case."""
        from ..reference import write_reference

        write_reference(case_from_json(case), Path(path))
        return {}


def _timed(program: Program, figure: str, seconds: float) -> list[float]:
    """How long each of its calls takes, for some time; of one at least."""
    times = [time.perf_counter()]
    while len(times) == 1 or (
        times[-1] < times[0] + seconds and len(times) <= _MOST_CALLS
    ):
        program.run(figure)
        times.append(time.perf_counter())
    return [b - a for a, b in itertools.pairwise(times)]


def _take_one_core() -> None:
    """Before any thread is started, so that pools have one thread.

    A step is too short to be shared out, and waking a thread on a core that sleeps costs
    more than the step, by chance once or four times as much.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _keep_compiled(folder: str) -> None:
    """Has JAX write there what it compiles, and read it if it is there already."""
    jax = sys.modules.get("jax")
    if jax is None:
        return
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _status(field: str) -> int | None:
    """Bytes, of Linux's account of this process alone; None elsewhere.

    Not `ru_maxrss`: a process inherits that of the one that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None


def serve(open_worker: Callable[[], Any], requests: Any, answers: Any) -> None:
    """Answers requests until there are no more, each case in a fork of its own."""
    worker, broken = None, {}
    try:
        worker = open_worker()
    except ImportError as error:
        broken = {"absent": f"not installed ({error})"}
    except Exception as error:
        broken = _failure(error)
    # what was imported is never garbage: a fork that looks for some there copies it all
    gc.freeze()
    while line := requests.readline():
        if pid := os.fork():
            _die_as(os.waitpid(pid, 0)[1])
            continue
        while line:
            answers.write(json.dumps(_answer(worker, broken, line)) + "\n")
            answers.flush()
            # a case stays in its fork until it is released
            line = requests.readline() if getattr(worker, "program", None) else ""
        os._exit(0)


def _answer(worker: Any, broken: dict[str, Any], line: str) -> dict[str, Any]:
    request = json.loads(line)
    try:
        answer = broken or getattr(worker, request.pop("do"))(**request)
    except Exception as error:
        traceback.print_exc()
        answer = _failure(error)
    return {"pid": os.getpid(), **answer}


def _die_as(status: int) -> None:
    """Whoever asked must learn how the fork died."""
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    elif code := os.waitstatus_to_exitcode(status):
        os._exit(code)


def _failure(error: Exception) -> dict[str, Any]:
    first = (str(error).strip().splitlines() or [""])[0]
    return {"failed": f"{type(error).__name__}: {first}"[:300]}


def main() -> None:
    """The worker named on the command line, on this process's standard streams."""
    # The one who started it stops it: Ctrl-C reaches every process of the terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # the warnings are of threads that forks lack; nothing has started any yet
    warnings.filterwarnings("ignore", message=".*fork", category=RuntimeWarning)
    warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not stand between the answers
    name = sys.argv[1]
    serve(
        Solver if name == REFERENCE else lambda: Worker(peers.load(name)),
        sys.stdin,
        answers,
    )


if __name__ == "__main__":
    main()
