"""The picture: the outputs of a network, and the fixed points of both cells."""

from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np

from jaxrnn import diagnostics

from ..common import save_picture
from .analysis import Analysis
from .task import BITS, Batch


def draw(
    path: Path, test: Batch, shown: dict[str, tuple[Analysis, np.ndarray]]
) -> None:
    """Draws one sequence, and the fixed points of the first network of each cell."""
    figure, (one, *rest) = plt.subplots(1, 3, figsize=(15, 4.8), layout="constrained")
    name, (_, ys) = next(iter(shown.items()))
    _draw_sequence(one, name, test, ys)
    for ax, (name, (analysis, _)) in zip(rest, shown.items(), strict=True):
        few = jax.tree.map(lambda s: s[:, :48], analysis.visited)
        diagnostics.plot_fixed_points(ax, analysis.points, few)
        ax.set_title(
            f"{name}: {analysis.corners} of 8 memories have a stable fixed point"
        )
    save_picture(path, figure)


def _draw_sequence(ax: Any, name: str, test: Batch, ys: np.ndarray) -> None:
    """The pulses of one sequence, the bits to remember, and the outputs, below each other."""
    steps = np.arange(len(ys))
    for bit in range(BITS):
        level = -3 * bit
        label = (lambda text: text) if bit == 0 else (lambda text: None)
        ax.bar(
            steps, test.pulses[:, 0, bit], bottom=level, width=0.5, color="0.6",
            label=label("input: pulses"),
        )  # fmt: skip
        known = np.where(test.valid[:, 0, bit], test.bits[:, 0, bit], np.nan)
        ax.step(
            steps, level + known, where="mid", color="black", linestyle=":",
            label=label("target: last pulse"),
        )  # fmt: skip
        ax.plot(steps, level + ys[:, 0, bit], color="C0", label=label("output"))
    ax.set_yticks(
        [-3 * bit for bit in range(BITS)], [f"bit {b + 1}" for b in range(BITS)]
    )
    ax.set(title=f"{name}: one test sequence", xlabel="time step", ylim=(-7.5, 3))
    ax.legend(loc="upper center", ncols=3, fontsize="small")
