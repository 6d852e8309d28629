"""One figure of a task: the turns of its contenders, and which of them need another one.

A turn gives the fastest of its calls; a figure is the lower quartile of the turns. Turns
are spread over the whole run, so a disturbance of the machine reaches only some of them.
All ratios are to one contender, the reference, which takes a turn before every few turns of
the others.
"""

import statistics
from dataclasses import dataclass
from typing import Any, NamedTuple


STATISTIC = "lower quartile of the turns"
"""The definition of a figure, for readers of the results."""


@dataclass(frozen=True)
class Settings:
    """How long a run measures.

    Attributes:
        processes: processes that a contender gets for a task, one after the other; the
            settings below apply to each of them.
        seconds: time for one figure of one contender, over all its turns.
        turn: seconds of one turn; a turn has at least one call.
        min_turns: turns that a figure gets, however long its calls are.
        agreement: how far the median of the turns may be above their lower quartile; a
            contender that scatters more gets more turns.
        turns_per_reference: turns of other contenders between two of the reference.
        rounds: the largest number of rounds, in each of which a contender has one turn.
        max_seconds: time after which a figure of a contender gets no more turns.
        time_limit: seconds of the whole run. Tasks get their second and later processes
            only while it lasts, the quickest tasks first; None for no limit.
        keep_memory: whether workers keep the memory that they free for their next call.
        timeout: seconds after which a worker that does not answer is killed.
    """

    processes: int = 2
    seconds: float = 0.25
    turn: float = 0.035
    min_turns: int = 4
    agreement: float = 0.05
    turns_per_reference: int = 3
    rounds: int = 6
    max_seconds: float = 1.0
    time_limit: float | None = None
    keep_memory: bool = True
    timeout: float = 300.0


class Turn(NamedTuple):
    """One turn of a contender, while all others slept.

    Attributes:
        seconds: time of the fastest call.
        calls: number of calls.
        elapsed: seconds of the whole turn.
        process: number of the contender's process; the first is 0.
    """

    seconds: float
    calls: int
    elapsed: float
    process: int = 0


class Figure:
    """One figure while it is measured in one process of each contender.

    Args:
        turns: turns of each contender in earlier processes; new ones are added to them.
        settings: how long to measure.
        reference: the contender that ratios refer to.
        process: number of the process.
    """

    def __init__(
        self,
        turns: dict[str, list[Turn]],
        settings: Settings,
        reference: str,
        process: int = 0,
    ) -> None:
        self.turns, self.settings = turns, settings
        self.reference, self.process = reference, process

    def add(self, name: str, turn: Turn) -> None:
        """Adds one turn."""
        self.turns[name].append(turn._replace(process=self.process))

    def drop(self, name: str) -> None:
        """Removes a contender that failed."""
        self.turns.pop(name, None)

    def next_turns(self) -> list[str]:
        """The contenders of the next round, in order; empty when the figure is done."""
        unsettled = [n for n, turns in self.turns.items() if not self._settled(turns)]
        others = [name for name in unsettled if name != self.reference]
        if self.reference not in self.turns or not others:
            return unsettled
        size = self.settings.turns_per_reference
        groups = [others[i : i + size] for i in range(0, len(others), size)]
        return [name for group in groups for name in (self.reference, *group)]

    def _settled(self, turns: list[Turn]) -> bool:
        """Whether a contender has enough turns in this process."""
        settings = self.settings
        turns = [turn for turn in turns if turn.process == self.process]
        elapsed = sum(turn.elapsed for turn in turns)
        if elapsed < settings.seconds or len(turns) < settings.min_turns:
            return False
        if elapsed > settings.max_seconds:
            return True
        lower, median, _ = quartiles([turn.seconds for turn in turns])
        return median <= (1 + settings.agreement) * lower


def summarize(
    turns: dict[str, list[Turn]], reference: str, floor: str
) -> dict[str, dict[str, Any]]:
    """The figures of one task.

    Args:
        turns: the turns of each contender.
        reference: the contender that `ratio` refers to; 2 takes twice its time.
        floor: the contender of `floor_share`, its time over the contender's.

    Returns:
        For each contender its `seconds`, the `quartiles` of its turns, its `ratio` and
        `ratio_range`, and the turns themselves, column by column.
    """
    found = {n: quartiles([t.seconds for t in own]) for n, own in turns.items()}
    figures = {}
    for name, own in turns.items():
        figure: dict[str, Any] = {
            "seconds": found[name][0],
            "quartiles": found[name],
            "turns": [turn.seconds for turn in own],
            "process": [turn.process for turn in own],
            "calls": [turn.calls for turn in own],
        }
        if reference in found:
            figure["ratio"] = found[name][0] / found[reference][0]
            figure["ratio_range"] = ratio_range(found[name], found[reference])
        if floor in found:
            figure["floor_share"] = found[floor][0] / found[name][0]
        figures[name] = figure
    return figures


def ratio_range(own: list[float], reference: list[float]) -> list[float]:
    """The spread of a ratio, from the quartiles of both; it includes 1 if they overlap.

    A ratio whose spread includes 1 does not decide which contender is faster.
    """
    return [own[0] / reference[2], own[2] / reference[0]]


def turns_of(figure: dict[str, Any] | None) -> list[Turn]:
    """The turns that `summarize` stored in a figure."""
    if figure is None:
        return []
    columns = (figure[name] for name in ("turns", "calls", "process"))
    return [
        Turn(seconds, calls, 0.0, process)
        for seconds, calls, process in zip(*columns, strict=True)
    ]


def quartiles(times: list[float]) -> list[float]:
    """Lower quartile, median and upper quartile by ranks: of three, the three.

    Interpolated quartiles (`inclusive`) would favour contenders with more turns, and the
    reference has the most.
    """
    if len(times) > 2:
        return statistics.quantiles(times, n=4)
    return [min(times), statistics.median(times), max(times)]
