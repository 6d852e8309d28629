"""One figure of a case: the turns that its contenders had, and who needs another.

A turn gives the fastest of its calls, and a figure is the lower quartile of its turns: turns
lie apart, and what slows the machine for a while does not reach a fourth of them. Turns
that were taken while cores were far apart (`cores.py`) do not count.

A contender has more than one process for a case, each with turns of its own, since a
program may be slower by half in one process than in the next, and minutes lie between them.
"""

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

from .peers import FLOOR, REFERENCE


STATISTIC = "lower quartile of the turns in which cores were near each other"
"""What a figure is, for those who read results."""


@dataclass(frozen=True)
class Settings:
    """How long is measured.

    Attributes:
        processes: that a contender has for a case, one after the other. What follows is
            for each of them.
        seconds: for each figure of each contender, over all its turns.
        turn: seconds of one of them; one call at least.
        fewest: turns that a figure gets, however long its calls are.
        agreement: how far the median of its turns may be above their lower quartile. If it
            is further, or if fewer turns than `fewest` count, there are more.
        rounds: how many there are at most.
        most: seconds after which it gets no more of them.
        near: seconds before a turn in which cores that are far apart may come near.
        limit: seconds of the whole run, in which those cases have a second process, and so
            on, that there is time for, the quickest first; None: all of them have.
        memory: also measures resident memory, in a fresh process each.
        keep_memory: whether workers keep the memory that they free for their next call.
        patience: seconds after which a worker that does not answer is given up.
    """

    processes: int = 2
    seconds: float = 0.25
    turn: float = 0.035
    fewest: int = 4
    agreement: float = 0.05
    rounds: int = 6
    most: float = 1.0
    near: float = 0.3
    limit: float | None = None
    memory: bool = False
    keep_memory: bool = True
    patience: float = 300.0


class Turn(NamedTuple):
    """What a contender did while all others slept.

    Attributes:
        seconds: of the fastest of its calls.
        calls: how many there were.
        spent: seconds that they took together, and what came with them.
        near: whether cores were near each other before and after it.
        process: in which of its processes, the first being 0.
    """

    seconds: float
    calls: int
    spent: float
    near: bool = True
    process: int = 0


class Figure:
    """One figure while it is measured in one process of each contender.

    Args:
        earlier: what each contender did in processes before, round by round.
        settings: how long.
        process: which it is.

    Attributes:
        turns: those of each contender, round by round.
    """

    def __init__(
        self, earlier: dict[str, list[Turn]], settings: Settings, process: int = 0
    ) -> None:
        self.turns, self.settings, self.process = earlier, settings, process

    def add(self, name: str, turn: Turn) -> None:
        """One turn."""
        self.turns[name].append(turn._replace(process=self.process))

    def drop(self, name: str) -> None:
        """Whoever failed has no figure."""
        self.turns.pop(name, None)

    def going(self) -> list[str]:
        """Who needs one more turn."""
        return [name for name, turns in self.turns.items() if not self._settled(turns)]

    def summary(self) -> dict[str, dict[str, Any]]:
        """What is kept of each contender."""
        return summarised(self.turns)

    def _settled(self, turns: list[Turn]) -> bool:
        """Whether more turns would hardly change the figure."""
        settings = self.settings
        turns = [turn for turn in turns if turn.process == self.process]
        near = [turn.seconds for turn in turns if turn.near]
        spent = sum(turn.spent for turn in turns)
        if spent > settings.most and len(turns) >= settings.fewest:
            return True
        if spent < settings.seconds or len(near) < settings.fewest:
            return False
        return statistics.median(near) <= (1 + settings.agreement) * _quartile(near)


def summarised(rounds: dict[str, list[Turn]]) -> dict[str, dict[str, Any]]:
    """Figures of one case from the turns of each contender, round by round.

    `seconds` are the lower quartile of the turns that count, and ratios are of those: others
    on the machine can slow a turn down by half for a while, and one turn in twenty is lucky
    by as much. `ratio` is to the reference, so that 2 takes twice its time;
    `floor_share` is what part of the time the matrix products alone would take. `spread` is
    how far the median of those turns is above it; `median` is of all turns, and
    `median_ratio` of the ratios within each round.
    """
    seconds = {name: _quartile(_counted(turns)) for name, turns in rounds.items()}
    reference, floor = seconds.get(REFERENCE), seconds.get(FLOOR)
    figures = {}
    for name, turns in rounds.items():
        times = [turn.seconds for turn in turns]
        figure: dict[str, Any] = {
            "seconds": seconds[name],
            "median": statistics.median(times),
            "spread": statistics.median(_counted(turns)) / seconds[name] - 1,
            "rounds": times,
            "near": [turn.near for turn in turns],
            "process": [turn.process for turn in turns],
            "calls": [turn.calls for turn in turns],
        }
        if reference:
            pairs = _paired(turns, rounds[REFERENCE])
            figure["ratio"] = seconds[name] / reference
            figure["median_ratio"] = statistics.median(
                a.seconds / b.seconds for a, b in pairs
            )
        if floor:
            figure["floor_share"] = floor / seconds[name]
        figures[name] = figure
    return figures


def turns_of(figure: dict[str, Any]) -> list[Turn]:
    """The turns behind what `summarised` made of them."""
    columns = (figure[name] for name in ("rounds", "calls", "near", "process"))
    return [
        Turn(seconds, calls, 0.0, near, process)
        for seconds, calls, near, process in zip(*columns, strict=True)
    ]


def _paired(turns: list[Turn], others: list[Turn]) -> list[tuple[Turn, Turn]]:
    """Those of the same rounds; some had more of them than others."""

    def numbered(turns: list[Turn]) -> dict[tuple[int, int], Turn]:
        seen: Counter[int] = Counter()
        found = {}
        for turn in turns:
            found[turn.process, seen[turn.process]] = turn
            seen[turn.process] += 1
        return found

    mine, theirs = numbered(turns), numbered(others)
    return [(mine[at], theirs[at]) for at in mine if at in theirs]


def _counted(turns: list[Turn]) -> list[float]:
    """The times of the turns that count; of all, if none does."""
    return [turn.seconds for turn in turns if turn.near] or [t.seconds for t in turns]


def _quartile(times: list[float]) -> float:
    """The lower one."""
    if len(times) == 1:
        return times[0]
    return statistics.quantiles(times, n=4, method="inclusive")[0]
