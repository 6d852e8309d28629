"""The picture of fixed points: the plane of the first two principal components."""

from typing import Any

import jax
import numpy as np

from .._arrays import to_real
from .._typing import Sequence
from ._fixed_points import FixedPoints


def plot_fixed_points(ax: Any, points: FixedPoints, trajectories: Sequence) -> None:
    """Draws fixed points and trajectories in the plane of two principal components.

    The components are those of all visited states. Stable points are filled; saddles and
    other unstable points are open, in a color for their number of unstable directions.

    Args:
        ax: the matplotlib axis.
        points: the result of `fixed_points`.
        trajectories: the result of `visited_states`, leaves `(T, B, ...)`.
    """
    visited = np.asarray(jax.vmap(jax.vmap(to_real))(trajectories), float)
    mean = visited.mean(axis=(0, 1))
    axes, explained = _principal_axes((visited - mean).reshape(-1, mean.size))
    paths = (visited - mean) @ axes
    ax.plot(paths[..., 0], paths[..., 1], color="0.75", linewidth=0.5, zorder=1)
    if points.stable.size:
        found = np.asarray(jax.vmap(to_real)(points.states), float)
        _draw_groups(ax, (found - mean) @ axes, points.unstable)
        ax.legend(loc="best", fontsize="small")
    number = len(points.stable)
    ax.set_xlabel(f"PC 1 ({explained[0]:.0%} of the variance)")
    ax.set_ylabel(f"PC 2 ({explained[1]:.0%} of the variance)")
    ax.set_title(f"{number} fixed point{'s' * (number != 1)}")


def _principal_axes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two axes, `(k, 2)`, and their parts of the variance; 0 where k is 1."""
    _, sizes, axes = np.linalg.svd(rows, full_matrices=False)
    parts = sizes**2 / max(np.sum(sizes**2), np.finfo(float).tiny)
    missing = max(0, 2 - len(sizes))
    axes = np.pad(axes, ((0, missing), (0, 0)))
    return axes[:2].T, np.pad(parts, (0, missing))[:2]


def _draw_groups(ax: Any, places: np.ndarray, unstable: np.ndarray) -> None:
    """The points of each number of unstable directions, with their count in the legend."""
    for number in np.unique(unstable):
        group = places[unstable == number]
        color = f"C{number}"
        style = {"facecolors": color if number == 0 else "none", "edgecolors": color}
        name = "stable"
        if number:
            name = f"{number} unstable direction{'s' * int(number != 1)}"
        ax.scatter(
            group[:, 0], group[:, 1], s=45, linewidths=1.5, zorder=3,
            label=f"{name}: {len(group)}", **style,
        )  # fmt: skip
