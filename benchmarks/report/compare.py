"""What got slower between two runs on the same machine.

A machine that was busier makes everything slower, so a time alone says little. What counts
as slower is slower in seconds *and* relative to the floor of its own run, each by more
than quartile and median of both runs lie apart, and by more than a tolerance.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..peers import FLOOR


TOLERANCE = 0.1
"""Growth that is never called slower: two runs of the same code differ by as much."""


@dataclass(frozen=True)
class Change:
    """One figure in both runs.

    Attributes:
        growth: new seconds over old, less 1.
        relative: the same of the times in units of their run's floor; None without one.
        noise: growth that chance explains.
    """

    contender: str
    case: str
    figure: str
    growth: float
    relative: float | None
    noise: float

    @property
    def slower(self) -> bool:
        """Beyond chance, by either measure."""
        return all(g > self.noise for g in self._measures)

    @property
    def faster(self) -> bool:
        """Beyond chance, by either measure."""
        return all(1 / (1 + g) - 1 > self.noise for g in self._measures)

    @property
    def _measures(self) -> list[float]:
        known = [] if self.relative is None else [self.relative]
        return [self.growth, *known]

    def __str__(self) -> str:
        relative = ""
        if self.relative is not None:
            relative = f", {100 * self.relative:+.0f} % relative to the floor"
        return (
            f"{self.contender}, {self.case}, {self.figure}: {100 * self.growth:+.0f} %"
            f"{relative}; chance explains {100 * self.noise:.0f} %"
        )


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Every figure that both runs have, the floor's aside."""
    before, after = dict(_figures(old)), dict(_figures(new))
    found = []
    for key, now in after.items():
        then = before.get(key)
        if then is None or key[0] == FLOOR:
            continue
        relative = None
        if "floor_share" in then and "floor_share" in now:
            relative = then["floor_share"] / now["floor_share"] - 1
        growth = now["seconds"] / then["seconds"] - 1
        noise = max(TOLERANCE, then["spread"] + now["spread"])
        found.append(Change(*key, growth=growth, relative=relative, noise=noise))
    return found


def missing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Figures that the old run has and the new one lacks, of cases that both have."""
    cases = {case["name"] for case in new["cases"]}
    after = dict(_figures(new))
    return [
        ", ".join(key)
        for key, _ in _figures(old)
        if key not in after and key[1] in cases
    ]


def _figures(results: dict[str, Any]) -> Iterator[tuple[tuple[str, str, str], dict]]:
    for case in results["cases"]:
        for name, result in case["results"].items():
            for figure, found in result.get("figures", {}).items():
                yield (name, case["name"], figure), found
