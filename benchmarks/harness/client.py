"""The other end of a worker: starts it, asks it, and stops it."""

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
    """A worker that died, or did not answer in time, and what it said last."""


class Client:
    """One worker process, started on its first request and again after it died.

    Args:
        name: a contender.
        patience: seconds for which an answer is waited for.
        keep_memory: whether it keeps what it frees, instead of giving it back.
    """

    def __init__(self, name: str, patience: float, keep_memory: bool = False) -> None:
        self.name, self.patience, self.keep_memory = name, patience, keep_memory
        self._process: subprocess.Popen | None = None
        self._errors: Any = None
        self._fork: int | None = None

    def start(self) -> None:
        """Lets it begin to import what it needs, while others do."""
        self._started()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            WorkerError: if there is none.
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
            raise WorkerError(self._epitaph())
        found = json.loads(answer)
        self._fork = found.pop("pid")
        return found

    def settle(self, most: float = 0.5) -> None:
        """Waits until its threads are asleep.

        OpenMP's go on spinning for some milliseconds after a call, on the cores that the
        next contender needs.
        """
        start = time.perf_counter()
        busy = self._cpu_seconds()
        while busy is not None and time.perf_counter() - start < most:
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
            os.killpg(process.pid, signal.SIGKILL)  # with the fork that serves a case
        process.wait()
        for stream in (process.stdin, process.stdout, self._errors):
            if stream is not None:
                stream.close()

    def _started(self) -> subprocess.Popen:
        if self._process is None:
            self._errors = tempfile.TemporaryFile()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.harness.worker", self.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
                env=_environment(self.keep_memory),
            )
        return self._process

    def _read(self, stream: int) -> bytes:
        """One line; empty if it does not come."""
        line, end = b"", time.monotonic() + self.patience
        while not line.endswith(b"\n"):
            ready, _, _ = select.select(
                [stream], [], [], max(0, end - time.monotonic())
            )
            chunk = os.read(stream, 1 << 16) if ready else b""
            if not chunk:
                return b""
            line += chunk
        return line

    def _epitaph(self) -> str:
        process = self._process
        assert process is not None
        try:
            code = process.wait(timeout=1)
            said = f"ended with {code}"
        except subprocess.TimeoutExpired:
            said = f"gave no answer in {self.patience:.0f} s"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        last = [line for line in lines if line.strip()][-1:]
        self.stop()
        return ": ".join([said, *last])[:300]

    def _cpu_seconds(self) -> float | None:
        """What all its threads have used; None where Linux does not say."""
        total = 0
        tasks = Path(f"/proc/{self._fork}/task")
        try:
            for task in tasks.iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        except (OSError, IndexError, ValueError):
            return None
        return total * 1e-9


# glibc's: no mappings that end with an allocation, one heap for all threads, never cut.
_KEEPING = {
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
        **(_KEEPING if keep_memory else {}),
        # What was compiled in an earlier run would have no compile time in this one.
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "PYTHONPATH": path,
    }
