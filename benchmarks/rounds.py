"""One figure of a case: the turns that its contenders had, and who needs another.

A turn gives the fastest of its calls, and a figure is the lower quartile of its turns: turns
lie apart, and what slows the machine for a while does not reach a fourth of them. Turns
that were taken while cores were far apart (`cores.py`) do not count.
"""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .peers import FLOOR, REFERENCE


STATISTIC = "lower quartile of the turns in which cores were near each other"
"""What a figure is, for those who read results."""


@dataclass(frozen=True)
class Settings:
    """How long is measured.

    Attributes:
        seconds: for each figure of each contender, over all its turns.
        turn: seconds of one of them; one call at least.
        fewest: turns that a figure gets, however long its calls are.
        agreement: how far the median of its turns may be above it. If it is further, or if
            fewer turns than `fewest` count, there are more.
        rounds: how many there are at most.
        most: seconds after which it gets no more of them.
        near: seconds before a turn in which cores that are far apart may come near.
        memory: also measures resident memory, in a fresh process each.
        keep_memory: whether workers keep the memory that they free for their next call.
        patience: seconds after which a worker that does not answer is given up.
    """

    seconds: float = 0.5
    turn: float = 0.035
    fewest: int = 5
    agreement: float = 0.05
    rounds: int = 20
    most: float = 3.0
    near: float = 0.5
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
    """

    seconds: float
    calls: int
    spent: float
    near: bool = True


class Figure:
    """One figure while it is measured.

    Args:
        names: the contenders.
        settings: how long.

    Attributes:
        turns: those of each contender, round by round.
    """

    def __init__(self, names: Iterable[str], settings: Settings) -> None:
        self.settings = settings
        self.turns: dict[str, list[Turn]] = {name: [] for name in names}

    def add(self, name: str, turn: Turn) -> None:
        """One turn."""
        self.turns[name].append(turn)

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
            "calls": sum(turn.calls for turn in turns),
        }
        if reference:
            # some had more turns than others
            pairs = zip(turns, rounds[REFERENCE], strict=False)
            figure["ratio"] = seconds[name] / reference
            figure["median_ratio"] = statistics.median(
                a.seconds / b.seconds for a, b in pairs
            )
        if floor:
            figure["floor_share"] = floor / seconds[name]
        figures[name] = figure
    return figures


def _counted(turns: list[Turn]) -> list[float]:
    """The times of the turns that count; of all, if none does."""
    return [turn.seconds for turn in turns if turn.near] or [t.seconds for t in turns]


def _quartile(times: list[float]) -> float:
    """The lower one."""
    if len(times) == 1:
        return times[0]
    return statistics.quantiles(times, n=4, method="inclusive")[0]
