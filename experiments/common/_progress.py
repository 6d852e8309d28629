"""Progress on the terminal, and Ctrl-C that waits for the end of an update."""

import contextlib
import signal
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


Item = TypeVar("Item")


@contextlib.contextmanager
def interruptible() -> Iterator[list[int]]:
    """Yields a list that gets an entry at Ctrl-C; a second Ctrl-C raises KeyboardInterrupt."""
    pressed: list[int] = []

    def note(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


class Bar:
    """A progress bar; without a terminal, a line of text every 10 % of the way."""

    def __init__(self, name: str, total: int, console: Console):
        self._name, self._total, self._console = name, total, console
        self._progress = Progress(
            TextColumn(name),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total, figures="")
        self._clock: tuple[float, int] | None = None
        self._speed = 0.0

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.stop()

    def show(self, done: int, figures: str) -> None:
        """Shows how many are done, some figures, and the speed."""
        now = time.perf_counter()
        if self._clock is None:
            self._clock = now, done
        elif now - self._clock[0] > 2:
            since, before = self._clock
            self._speed = (done - before) / (now - since)
            self._clock = now, done
        if self._speed:
            figures += f"  {self._speed:.1f}/s"
        self._progress.update(self._task, completed=done, figures=figures)
        if not self._console.is_terminal and done % max(1, self._total // 10) == 0:
            self._print(f"{self._name} {done}/{self._total}  {figures}")

    def say(self, text: str) -> None:
        """Prints a line above the bar; the clock restarts, since what it tells took time."""
        self._print(f"{self._name}  {text}")
        self._clock = None

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)


def track(items: Iterable[Item], name: str, console: Console) -> Iterator[Item]:
    """The items, with a progress bar."""
    known = list(items)
    with Bar(name, len(known), console) as bar:
        for done, item in enumerate(known, 1):
            yield item
            bar.show(done, "")
