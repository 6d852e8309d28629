"""The harness's end of a worker process: starts it, sends requests, and stops it."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


_ROOT = Path(__file__).resolve().parents[2]


class WorkerError(Exception):
    """A worker died or did not answer in time; the message has its last line of output."""


class Client:
    """One worker process, started on its first request and again after it died.

    Args:
        contender: `module:function` that returns the contender, and its arguments.
        timeout: seconds to wait for an answer.
        keep_memory: whether the process keeps freed memory instead of returning it.
    """

    def __init__(
        self, contender: tuple[str, ...], timeout: float, keep_memory: bool = False
    ) -> None:
        self.contender, self.timeout = contender, timeout
        self.keep_memory = keep_memory
        self._process: subprocess.Popen | None = None
        self._errors: Any = None
        self._fork: int | None = None

    def start(self) -> None:
        """Starts the process, so that it imports while others do."""
        self._started()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Sends a request and returns the answer.

        Raises:
            WorkerError: if the worker dies or does not answer in time.
        """
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            line = json.dumps({"do": do, **arguments}) + "\n"
            process.stdin.write(line.encode())
            process.stdin.flush()
            answer = self._read(process.stdout.fileno())
        except OSError:
            answer = b""
        if not answer:
            raise WorkerError(self._cause_of_death())
        found = json.loads(answer)
        self._fork = found.pop("pid")
        return found

    def settle(self, max_seconds: float = 0.5) -> None:
        """Waits until the worker's threads sleep.

        OpenMP's threads spin for some milliseconds after a call, on the cores that the
        next contender needs.
        """
        start = time.perf_counter()
        busy = self._cpu_seconds()
        while busy is not None and time.perf_counter() - start < max_seconds:
            time.sleep(0.003)
            before, busy = busy, self._cpu_seconds()
            if busy is None or busy - before < 0.0003:
                return
        time.sleep(0.05)

    def stop(self) -> None:
        """Ends the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its forks are in the same group
        process.wait()
        for stream in (process.stdin, process.stdout, self._errors):
            if stream is not None:
                stream.close()

    def _started(self) -> subprocess.Popen:
        if self._process is None:
            self._errors = tempfile.TemporaryFile()
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.worker", *self.contender],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
                env=_environment(self.keep_memory),
            )
        return self._process

    def _read(self, stream: int) -> bytes:
        """Reads one line; returns nothing if it does not come in time."""
        line, end = b"", time.monotonic() + self.timeout
        while not line.endswith(b"\n"):
            remaining = max(0, end - time.monotonic())
            ready, _, _ = select.select([stream], [], [], remaining)
            chunk = os.read(stream, 1 << 16) if ready else b""
            if not chunk:
                return b""
            line += chunk
        return line

    def _cause_of_death(self) -> str:
        process = self._process
        assert process is not None
        try:
            cause = f"ended with {process.wait(timeout=1)}"
        except subprocess.TimeoutExpired:
            cause = f"gave no answer in {self.timeout:.0f} s"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        last = [line for line in lines if line.strip()][-1:]
        self.stop()
        return ": ".join([cause, *last])[:300]

    def _cpu_seconds(self) -> float | None:
        """CPU time of all threads so far; None where Linux does not report it."""
        total = 0
        tasks = Path(f"/proc/{self._fork}/task")
        try:
            for task in tasks.iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        except (OSError, IndexError, ValueError):
            return None
        return total * 1e-9


# Settings of glibc's malloc: never map an allocation by itself, one heap for all
# threads, never return the top of the heap to the system.
_KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
}


def _environment(keep_memory: bool) -> dict[str, str]:
    path = os.pathsep.join(p for p in (str(_ROOT), os.environ.get("PYTHONPATH")) if p)
    return {
        # All contenders are alive at once: none may take the whole memory of a GPU.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        **os.environ,
        **(_KEEP_MEMORY if keep_memory else {}),
        # A program compiled in an earlier run would have no compile time in this one.
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "PYTHONPATH": path,
    }
