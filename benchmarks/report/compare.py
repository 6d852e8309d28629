"""The figures that changed between two runs on the same machine.

A busier machine makes everything slower. So a figure counts as slower if it is slower in
seconds and also relative to the floor of its own run, in both cases by more than a
tolerance and by more than the lower quartiles and medians of both runs differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


TOLERANCE = 0.1
"""Growth that is never called slower: two runs of the same code differ by as much."""


@dataclass(frozen=True)
class Change:
    """One figure in both runs.

    Attributes:
        growth: new seconds over old seconds, less 1.
        relative: the same for times in units of their run's floor; None without a floor.
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
        """Whether every measure grew by more than chance explains."""
        return all(growth > self.noise for growth in self._measures)

    @property
    def faster(self) -> bool:
        """Whether every measure shrank by more than chance explains."""
        return all(1 / (1 + growth) - 1 > self.noise for growth in self._measures)

    @property
    def _measures(self) -> list[float]:
        return [self.growth] + ([] if self.relative is None else [self.relative])

    def __str__(self) -> str:
        relative = ""
        if self.relative is not None:
            relative = f", {100 * self.relative:+.0f} % relative to the floor"
        return (
            f"{self.contender}, {self.case}, {self.figure}: {100 * self.growth:+.0f} %"
            f"{relative}; chance explains {100 * self.noise:.0f} %"
        )


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Every figure that both runs have, except the floor's."""
    before, after = dict(_figures(old)), dict(_figures(new))
    found = []
    for key, now in after.items():
        then = before.get(key)
        if then is None or key[0] == new["floor"]:
            continue
        relative = None
        if "floor_share" in then and "floor_share" in now:
            relative = then["floor_share"] / now["floor_share"] - 1
        growth = now["seconds"] / then["seconds"] - 1
        noise = max(TOLERANCE, _spread(then) + _spread(now))
        found.append(Change(*key, growth=growth, relative=relative, noise=noise))
    return found


def missing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Figures that only the old run has, of cases that both runs have."""
    cases = {case["name"] for case in new["cases"]}
    after = dict(_figures(new))
    return [
        ", ".join(key)
        for key, _ in _figures(old)
        if key not in after and key[1] in cases
    ]


def _spread(figure: dict[str, Any]) -> float:
    lower, median, _ = figure["quartiles"]
    return median / lower - 1


def _figures(results: dict[str, Any]) -> Iterator[tuple[tuple[str, str, str], dict]]:
    for case in results["cases"]:
        for name, result in case["results"].items():
            for figure, found in result.get("figures", {}).items():
                yield (name, case["name"], figure), found
