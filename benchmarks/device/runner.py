"""Runs steps one after the other, each in a process of its own until its time is up.

It knows no steps and imports nothing but the standard library.
"""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import lines


LEAST = 10.0
"""Seconds; with less time left, no step is started."""

SLACK = 5.0
"""Seconds that a step is told to end before it is killed."""


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        name: unique in a run.
        command: the arguments of its process.
        limit: seconds after which the process is killed.
    """

    name: str
    command: tuple[str, ...]
    limit: float


class Run:
    """One run over steps.

    Args:
        folder: the folder of the results.
        seconds: time for all steps.
        environment: variables of the processes, added to those of this one.
    """

    def __init__(
        self, folder: Path, seconds: float, environment: dict[str, str]
    ) -> None:
        self.folder, self.environment = folder, environment
        self.end = time.monotonic() + seconds
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, steps: list[Step]) -> None:
        """Runs all steps, and those again that lost something to one suspect."""
        for step in steps:
            ended = self._run(step)
            suspects = self._suspects(step) if ended in ("died", "timeout") else ()
            # a step that ran out of time with several suspects was only too slow
            if suspects and (ended == "died" or len(suspects) == 1):
                without = tuple(w for name in suspects for w in ("--without", name))
                again = Step(step.name, step.command + without, step.limit)
                self._run(again, {name: f"the process {ended}" for name in suspects})

    def _run(self, step: Step, lost: dict[str, str] | None = None) -> str:
        """One step: "done", "timeout", "died" or "skipped"; `lost` by an earlier start."""
        say = lines.writer(self.folder, step.name)
        left = self.end - time.monotonic()
        if left < LEAST:
            say(ended="skipped", why="the time of the run is up")
            return "skipped"
        start, limit = time.monotonic(), min(step.limit, left)
        say(started=list(step.command), limit=round(limit, 1))
        for name, why in (lost or {}).items():
            say(contender=name, failed=why)
        print(f"{step.name} ...", end=" ", flush=True)
        code = self._process(step.command, limit)
        seconds = round(time.monotonic() - start, 1)
        ended = "timeout" if code is None else "died" if code else "done"
        facts: dict[str, Any] = {"ended": ended, "seconds": seconds}
        if code:
            facts |= {"code": code, "last": _last_line(self._log)}
        say(**facts)
        print(f"{ended} in {seconds} s", flush=True)
        return ended

    @property
    def _log(self) -> Path:
        return self.folder / "log.txt"

    def _process(self, command: tuple[str, ...], limit: float) -> int | None:
        """The exit status of a process; None if it was killed for its time."""
        environment = {**os.environ, **self.environment}
        environment["DEVICE_SECONDS"] = str(max(1.0, limit - SLACK))
        with self._log.open("a") as log:
            log.write(f"\n$ {' '.join(command)}\n")
            log.flush()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:  # also on Ctrl-C, which does not reach another session
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _suspects(self, step: Step) -> tuple[str, ...]:
        """The contenders that ran when the step died, if it wrote which these were."""
        said = [line for line in lines.read(self.folder) if line["step"] == step.name]
        started = max(i for i, line in enumerate(said) if "started" in line)
        doing = [line["doing"] for line in said[started:] if "doing" in line]
        return tuple(doing[-1]) if doing else ()


def _last_line(path: Path) -> str:
    text = path.read_text(errors="replace") if path.exists() else ""
    found = [line for line in text.splitlines() if line.strip()]
    return found[-1].strip()[:300] if found else ""
