"""A worker process: it holds one contender, which runs only when it is asked.

The worker reads one JSON object a line and answers with one. Contenders never share a
process, since thread pools spin after a call and slow down the rest of their process. A
worker that waits for its standard input costs nothing.

Each task is served by a fresh fork of the worker, which itself only imports. A large
temporary array may land on pages that the process has used before or on new ones, which
can account for half of a time; so no task may leave anything behind for the next.

    python -m benchmarks.harness.worker MODULE:FUNCTION [ARGUMENT ...]
"""

import gc
import importlib
import itertools
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any


_MAX_CALLS = 100_000

_LONG = 0.2
"""Seconds; cold caches do not matter to calls that are longer."""


def turn(run: Callable[[str], None], figure: str, seconds: float) -> dict[str, Any]:
    """Times calls of one figure for some seconds, and returns the fastest.

    The first call does not count: code and data have left the caches while other
    contenders ran. Only a long call counts at once, and is then the only one.
    """
    gc.disable()
    calls = _timed(run, figure, 0)
    if calls[0] < _LONG:
        calls = _timed(run, figure, seconds)
    gc.enable()
    return {"seconds": min(calls), "calls": len(calls)}


def _timed(run: Callable[[str], None], figure: str, seconds: float) -> list[float]:
    """The time of each call, for some seconds and at least one call."""
    times = [time.perf_counter()]
    while len(times) == 1 or (
        times[-1] < times[0] + seconds and len(times) <= _MAX_CALLS
    ):
        run(figure)
        times.append(time.perf_counter())
    return [b - a for a, b in itertools.pairwise(times)]


def serve(load: Callable[[], Any], requests: Any, answers: Any) -> None:
    """Answers requests until the input ends, each task in a fork of its own."""
    contender, broken = None, {}
    try:
        contender = load()
    except ImportError as error:
        broken = {"absent": f"not installed ({error})"}
    except Exception as error:
        broken = _failure(error)
    # Otherwise the garbage collector of each fork would write to, and so copy, all pages
    # that hold imported objects.
    gc.freeze()
    while line := requests.readline():
        if pid := os.fork():
            _die_as(os.waitpid(pid, 0)[1])
            continue
        while line:
            answers.write(json.dumps(_answer(contender, broken, line)) + "\n")
            answers.flush()
            line = requests.readline() if getattr(contender, "prepared", False) else ""
        os._exit(0)


def _answer(contender: Any, broken: dict[str, Any], line: str) -> dict[str, Any]:
    request = json.loads(line)
    do = request.pop("do")
    try:
        if broken:
            answer = broken
        elif do == "turn":
            answer = turn(contender.run, **request)
        else:
            answer = getattr(contender, do)(**request)
    except Exception as error:
        traceback.print_exc()
        answer = _failure(error)
    return {"pid": os.getpid(), **answer}


def _die_as(status: int) -> None:
    """Dies as the fork did, so that the harness learns how; returns if it ended well."""
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    elif code := os.waitstatus_to_exitcode(status):
        os._exit(code)


def _failure(error: Exception) -> dict[str, Any]:
    first = (str(error).strip().splitlines() or [""])[0]
    return {"failed": f"{type(error).__name__}: {first}"[:300]}


def main() -> None:
    """Serves the contender of the command line on the standard streams."""
    # Ctrl-C reaches every process of the terminal; the harness stops its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Python warns that forks lack the threads of their parent; it has not started any.
    warnings.filterwarnings("ignore", message=".*fork", category=RuntimeWarning)
    warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps what libraries print out of the answers
    target, *arguments = sys.argv[1:]
    module, _, function = target.partition(":")

    def load() -> Any:
        return getattr(importlib.import_module(module), function)(*arguments)

    serve(load, sys.stdin, answers)


if __name__ == "__main__":
    main()
