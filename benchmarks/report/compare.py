"""The figures that changed between two runs on the same machine.

A busier machine makes everything slower. So a figure counts as slower if it is slower in
seconds and also relative to the floor of its own run, in both cases by more than a
tolerance and by more than the lower quartiles and medians of both runs differ.
"""

from dataclasses import dataclass
from typing import Any


TOLERANCE = 0.1
"""Growth that is never called slower: two runs of the same code differ by as much."""

Figures = dict[tuple[str, str, str], dict[str, Any]]


@dataclass(frozen=True)
class Change:
    """One figure in both runs.

    Attributes:
        name: contender, case and figure.
        growth: new seconds over old seconds, less 1; and the same for times in units of
            their run's floor, if there is one.
        noise: growth that chance explains.
    """

    name: str
    growth: list[float]
    noise: float

    @property
    def slower(self) -> bool:
        """Whether both measures grew by more than chance explains."""
        return min(self.growth) > self.noise

    @property
    def faster(self) -> bool:
        """Whether both measures shrank by more than chance explains."""
        return 1 / (1 + max(self.growth)) - 1 > self.noise

    def __str__(self) -> str:
        growth, *relative = (f"{100 * growth:+.0f} %" for growth in self.growth)
        to_floor = "".join(f", {text} relative to the floor" for text in relative)
        noise = f"chance explains {100 * self.noise:.0f} %"
        return f"{self.name}: {growth}{to_floor}; {noise}"


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Every figure that both runs have, except the floor's."""
    before, after = _figures(old), _figures(new)
    found = []
    for key in (key for key in after if key in before and key[0] != new["floor"]):
        then, now = before[key], after[key]
        growth = [now["seconds"] / then["seconds"] - 1]
        if "floor_share" in then and "floor_share" in now:
            growth.append(then["floor_share"] / now["floor_share"] - 1)
        noise = max(TOLERANCE, _spread(then) + _spread(now))
        found.append(Change(", ".join(key), growth, noise))
    return found


def missing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Figures that only the old run has, of cases that both runs have."""
    cases = {case["name"] for case in new["cases"]}
    lost = _figures(old).keys() - _figures(new).keys()
    return sorted(", ".join(key) for key in lost if key[1] in cases)


def _spread(figure: dict[str, Any]) -> float:
    lower, median, _ = figure["quartiles"]
    return median / lower - 1


def _figures(results: dict[str, Any]) -> Figures:
    return {
        (name, case["name"], figure): found
        for case in results["cases"]
        for name, result in case["results"].items()
        for figure, found in result.get("figures", {}).items()
    }
