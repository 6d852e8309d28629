"""The legend of a plot whose lines leave no room for one."""

from typing import Any


def legend_below(ax: Any) -> None:
    """A legend in one line, below the label of the x-axis."""
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}
    ax.legend(**place, ncols=3, frameon=False, columnspacing=1.2, handlelength=1.4)
