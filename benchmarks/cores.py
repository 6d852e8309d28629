"""How far apart two cores are, and how to bring them near.

A virtual machine's cores are moved about by its host. While two of them are far apart, a
cache line takes four times as long from one to the other, and kernels whose threads work in
step take up to twice as long, for seconds or minutes, while others do not. A host that sees
one core wake the other over and over puts them side by side; one that sees both busy may
put them apart again. Elsewhere cores stay where they are, and count as near.

    python -m benchmarks.cores CORE FILE_DESCRIPTOR
"""

import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar


_Result = TypeVar("_Result")

_ROOT = Path(__file__).resolve().parent.parent

_FAR = 1.6
"""Times the least of a run. Near ones differ by a fourth; far ones take over twice that."""

_EXCHANGES = 200
_STOP = 255
_PATIENCE = 1_000_000
"""Looks at a cache line before the other side is taken to be asleep: some 50 ms."""

_HERE, _THERE = 0, 64  # two cache lines


class Cores:
    """Two of the cores that this process may use, and a process on the second of them."""

    def __init__(self) -> None:
        self.least = float("inf")
        self._partner: subprocess.Popen | None = None

    def start(self) -> None:
        """Finds out how near they can be, in a second."""
        if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) == 1:
            return
        self._all = os.sched_getaffinity(0)
        self._partner = self._started()
        for _ in range(20):
            self._on_the_first(self._talk)
            self.near()

    def near(self) -> bool:
        """Whether a cache line takes about as long as ever from one to the other."""
        if self._partner is None:
            return True
        apart = self._on_the_first(self._apart)
        if apart is None:
            return True
        self.least = min(self.least, apart)
        return apart <= _FAR * self.least

    def bring_near(self, seconds: float) -> bool:
        """Lets them wake each other until they are near, or for some time."""
        end = time.perf_counter() + seconds
        while not (near := self.near()) and time.perf_counter() < end:
            self._on_the_first(self._talk)
        return near

    def stop(self) -> None:
        """Ends the process on the second core."""
        partner, self._partner = self._partner, None
        if partner is not None:
            partner.kill()
            partner.communicate()

    def _started(self) -> subprocess.Popen:
        first, second, *_ = sorted(self._all)
        with tempfile.TemporaryFile() as file:
            file.truncate(mmap.PAGESIZE)
            self._first, self._lines = {first}, mmap.mmap(file.fileno(), mmap.PAGESIZE)
            return subprocess.Popen(
                [sys.executable, "-m", __name__, str(second), str(file.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                cwd=_ROOT,
                pass_fds=[file.fileno()],
                start_new_session=True,
            )

    def _on_the_first(self, do: Callable[[], _Result]) -> _Result | None:
        """None if the other process is gone: a run goes on without it."""
        os.sched_setaffinity(0, self._first)
        try:
            return do()
        except BrokenPipeError:
            self.stop()
            return None
        finally:
            os.sched_setaffinity(0, self._all)

    def _say(self, word: bytes) -> None:
        assert self._partner is not None and self._partner.stdin is not None
        self._partner.stdin.write(word)

    def _hear(self) -> None:
        assert self._partner is not None and self._partner.stdout is not None
        self._partner.stdout.read(1)

    def _talk(self, seconds: float = 0.05) -> None:
        """Waking each other by turns: each sleeps while the other is awake."""
        end = time.perf_counter() + seconds
        while self._partner is not None and time.perf_counter() < end:
            self._say(b"t")
            self._hear()

    def _apart(self) -> float:
        """Nanoseconds from one to the other and back, Python's own included."""
        lines, clock, times = self._lines, time.perf_counter_ns, []
        lines[_HERE] = lines[_THERE] = 0
        self._say(b"m")
        for count in range(1, _EXCHANGES + 1):
            start = clock()
            lines[_HERE] = count
            for _ in range(_PATIENCE):
                if lines[_THERE] == count:
                    break
            times.append(clock() - start)
        lines[_HERE] = _STOP
        self._hear()
        return sorted(times)[_EXCHANGES // 10]


def _mirror(lines: mmap.mmap) -> None:
    """Shows on one cache line what it sees on the other, for a second at most."""
    last = 0
    for _ in range(10 * _PATIENCE):
        if (seen := lines[_HERE]) != last:
            if seen == _STOP:
                return
            lines[_THERE] = last = seen


def main() -> None:
    """The process on the second core; it ends with the one that started it."""
    core, file = map(int, sys.argv[1:])
    os.sched_setaffinity(0, {core})
    lines = mmap.mmap(file, mmap.PAGESIZE)
    while asked := os.read(0, 1):
        if asked == b"m":
            _mirror(lines)
        os.write(1, asked)


if __name__ == "__main__":
    main()
