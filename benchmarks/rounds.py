"""One figure of a case: the turns that its contenders had, and who needs another.

A turn gives the fastest of its calls, and a figure is its fastest turn: turns lie apart, so
that what slows the machine for a while does not reach all of them. The reference runs
before each round, and tells by its own time which of them were calm.
"""

import itertools
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .peers import FLOOR, REFERENCE


@dataclass(frozen=True)
class Settings:
    """How long is measured.

    Attributes:
        seconds: for each figure of each contender, over all its turns.
        turn: seconds of one of them; one call at least.
        fewest: turns that a figure gets, however long its calls are.
        agreement: how far its two fastest turns may be apart. If they are further, or if
            less than two fell into calm rounds, there are more.
        rounds: how many there are at most.
        most: seconds after which it gets no more of them.
        memory: also measures resident memory, in a fresh process each.
        keep_memory: whether workers keep the memory that they free for their next call.
        patience: seconds after which a worker that does not answer is given up.
    """

    seconds: float = 0.5
    turn: float = 0.035
    fewest: int = 3
    agreement: float = 0.05
    rounds: int = 16
    most: float = 3.0
    memory: bool = False
    keep_memory: bool = True
    patience: float = 300.0


class Figure:
    """One figure while it is measured.

    Args:
        names: the contenders.
        settings: how long.

    Attributes:
        turns: seconds, round by round, of each of them.
    """

    def __init__(self, names: Iterable[str], settings: Settings) -> None:
        self.settings = settings
        self.turns: dict[str, list[float]] = {name: [] for name in names}
        self._calls = dict.fromkeys(self.turns, 0)
        self._spent = dict.fromkeys(self.turns, 0.0)

    def add(self, name: str, seconds: float, calls: int, spent: float) -> None:
        """One turn, and how long it took in all."""
        self.turns[name].append(seconds)
        self._calls[name] += calls
        self._spent[name] += spent

    def drop(self, name: str) -> None:
        """Whoever failed has no figure."""
        self.turns.pop(name, None)

    def going(self) -> list[str]:
        """Who needs one more turn."""
        calm = self._calm()
        return [name for name in self.turns if not self._settled(name, calm)]

    def summary(self) -> dict[str, dict[str, Any]]:
        """What is kept of each contender."""
        found = summarised(self.turns)
        return {n: found[n] | {"calls": self._calls[n]} for n in self.turns}

    def _calm(self) -> list[bool]:
        """Of each round, whether the reference was fast before and after it.

        Without one, all of them are.
        """
        reference = self.turns.get(REFERENCE)
        if not reference:
            return [True] * self.settings.rounds
        bound = (1 + 2 * self.settings.agreement) * min(reference)
        return [max(pair) <= bound for pair in itertools.pairwise(reference)]

    def _settled(self, name: str, calm: list[bool]) -> bool:
        """Whether more turns would hardly be faster."""
        settings, turns, spent = self.settings, self.turns[name], self._spent[name]
        if len(turns) < settings.fewest or spent < settings.seconds:
            return False
        if spent > settings.most:
            return True
        first, second = sorted(turns)[:2]
        agree = second <= (1 + settings.agreement) * first
        return agree and sum(calm[: len(turns)]) >= 2


def summarised(rounds: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Figures of one case from the turns of each contender, round by round.

    `seconds` are of the fastest turn, and ratios of fastest turns: others on the machine
    can only slow a turn down, and do by half for a while. `ratio` is to the reference, so
    that 2 takes twice its time; `floor_share` is what part of the time the matrix products
    alone would take. `spread` is how far the next turn is behind; `median` is of all turns,
    and `median_ratio` of the ratios within each round.
    """
    reference, floor = rounds.get(REFERENCE), rounds.get(FLOOR)
    figures = {}
    for name, turns in rounds.items():
        figure: dict[str, Any] = {
            "seconds": min(turns),
            "median": statistics.median(turns),
            "spread": _spread(turns),
            "rounds": turns,
        }
        if reference:
            # some had more turns than others
            ratios = [a / b for a, b in zip(turns, reference, strict=False)]
            figure["ratio"] = min(turns) / min(reference)
            figure["median_ratio"] = statistics.median(ratios)
        if floor:
            figure["floor_share"] = min(floor) / min(turns)
        figures[name] = figure
    return figures


def _spread(turns: list[float]) -> float:
    fastest, *others = sorted(turns)
    return min(others) / fastest - 1 if others else 0.0
