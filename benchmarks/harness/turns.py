"""One figure of a case: the turns that its contenders had, and who needs another.

A turn gives the fastest of its calls, and a figure is the lower quartile of its turns: turns
lie apart, and what slows the machine for a while does not reach a fourth of them. All
ratios are to one contender, the reference; so it has a turn before every few of the
others, and the most turns of all.

A contender has more than one process for a case, each with turns of its own, since a
program may be slower by half in one process than in the next, and minutes lie between them.
"""

import statistics
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..peers import FLOOR, REFERENCE


STATISTIC = "lower quartile of the turns"
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
            is further, there are more.
        together: contenders that have their turns between two turns of the reference.
        rounds: how many there are at most.
        most: seconds after which it gets no more of them.
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
    together: int = 3
    rounds: int = 6
    most: float = 1.0
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
        process: in which of its processes, the first being 0.
        beside: seconds of the reference's last turn before this one, if there was any.
    """

    seconds: float
    calls: int
    spent: float
    process: int = 0
    beside: float | None = None


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
        self._beside: float | None = None

    def add(self, name: str, turn: Turn) -> None:
        """One turn."""
        if name == REFERENCE:
            self._beside = turn.seconds
        turn = turn._replace(process=self.process, beside=self._beside)
        self.turns[name].append(turn)

    def drop(self, name: str) -> None:
        """Whoever failed has no figure."""
        self.turns.pop(name, None)

    def going(self) -> list[str]:
        """Who needs one more turn, and the reference before every few of the others."""
        going = [n for n, turns in self.turns.items() if not self._settled(turns)]
        others = [name for name in going if name != REFERENCE]
        if REFERENCE not in self.turns or not others:
            return going
        together = self.settings.together
        groups = [others[i : i + together] for i in range(0, len(others), together)]
        return [name for group in groups for name in (REFERENCE, *group)]

    def summary(self) -> dict[str, dict[str, Any]]:
        """What is kept of each contender."""
        return summarised(self.turns)

    def _settled(self, turns: list[Turn]) -> bool:
        """Whether more turns would hardly change the figure."""
        settings = self.settings
        turns = [turn for turn in turns if turn.process == self.process]
        times = [turn.seconds for turn in turns]
        spent = sum(turn.spent for turn in turns)
        if spent < settings.seconds or len(turns) < settings.fewest:
            return False
        if spent > settings.most:
            return True
        return statistics.median(times) <= (1 + settings.agreement) * _quartile(times)


def summarised(rounds: dict[str, list[Turn]]) -> dict[str, dict[str, Any]]:
    """Figures of one case from the turns of each contender, round by round.

    `seconds` are the lower quartile of the turns, and ratios are of those: others on the
    machine can slow a turn down by half for a while, and one turn in twenty is lucky by as
    much. `ratio` is to the reference, so that 2 takes twice its time; `floor_share` is what
    part of the time the matrix products alone would take. `spread` is how far the median
    of the turns is above `seconds`; `median_ratio` is the median of the ratios of each turn
    to the reference's turn before it.
    """
    times = {n: [turn.seconds for turn in turns] for n, turns in rounds.items()}
    seconds = {name: _quartile(found) for name, found in times.items()}
    reference, floor = seconds.get(REFERENCE), seconds.get(FLOOR)
    figures = {}
    for name, turns in rounds.items():
        median = statistics.median(times[name])
        figure: dict[str, Any] = {
            "seconds": seconds[name],
            "median": median,
            "spread": median / seconds[name] - 1,
            "rounds": times[name],
            "beside": [turn.beside for turn in turns],
            "process": [turn.process for turn in turns],
            "calls": [turn.calls for turn in turns],
        }
        if reference:
            figure["ratio"] = seconds[name] / reference
            figure["median_ratio"] = statistics.median(
                turn.seconds / turn.beside for turn in turns if turn.beside
            )
        if floor:
            figure["floor_share"] = floor / seconds[name]
        figures[name] = figure
    return figures


def turns_of(figure: dict[str, Any] | None) -> list[Turn]:
    """The turns behind what `summarised` made of them; none where there is no figure."""
    if figure is None:
        return []
    columns = (figure[name] for name in ("rounds", "calls", "process", "beside"))
    return [
        Turn(seconds, calls, 0.0, process, beside)
        for seconds, calls, process, beside in zip(*columns, strict=True)
    ]


def _quartile(times: list[float]) -> float:
    """What a fourth of such times will be below, however few there are of them.

    By ranks: the fastest of three, a fourth of the way on to the next of four. Other
    definitions favour who has more turns.
    """
    return statistics.quantiles(times, n=4)[0] if len(times) > 2 else min(times)
