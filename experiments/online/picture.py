"""The picture: bits of the copy task, and the errors of forecasts, along the streams."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from ..common import save_picture
from .contenders import Curve
from .measures import TITLES


COLORS = {
    "RTRL": "C0",
    "DiagonalRTRL": "C0",
    "SnAp-1": "C1",
    "Immediate": "C3",
}
SIMPLE = (":", "-.", "--", (0, (1, 1)))


def draw(
    path: Path,
    curves: dict[str, dict[str, Curve]],
    simple: dict[str, dict[str, list[float]]],
    chunk: int,
    ahead: int,
) -> None:
    """Draws the copy task above, and the temperatures below, a network in each column."""
    figure, axes = plt.subplots(
        len(curves), 2, figsize=(15, 3.8 * len(curves)), layout="constrained"
    )
    for row, (stream, found) in zip(axes, curves.items(), strict=True):
        for ax, cell in zip(row, ("GRU", "LRU"), strict=True):
            of_cell = {k: c for k, c in found.items() if c.cell == cell}
            if stream == "copy":
                _draw_copy(ax, cell, of_cell, chunk)
            else:
                _draw_series(
                    ax, f"{TITLES[stream]}, {cell}", of_cell, simple[stream], ahead
                )
    save_picture(path, figure)


def _draw_copy(ax: Any, cell: str, curves: dict[str, Curve], chunk: int) -> None:
    for name, curve in curves.items():
        samples = chunk * np.arange(1, curve.errors.shape[1] + 1)
        _line(ax, samples, curve.errors, name)
    ax.axhline(1, color="0.6", lw=0.8, ls=":")
    ax.set(
        title=f"copy task, {cell}", xlabel="samples of each stream",
        ylabel="bits a symbol (1: guessing)", ylim=(-0.02, 1.1),
    )  # fmt: skip
    _legend(ax)


def _draw_series(
    ax: Any, title: str, curves: dict[str, Curve], simple: dict[str, Any], ahead: int
) -> None:
    for (name, errors), style in zip(simple.items(), SIMPLE, strict=True):
        ax.plot(_running(np.array(errors)), color="0.45", ls=style, lw=1.2, label=name)
    for name, curve in curves.items():
        weeks = np.arange(curve.errors.shape[1])
        _line(ax, weeks, np.apply_along_axis(_running, 1, curve.errors), name)
    ax.set(
        title=title, xlabel="week of the stream",
        ylabel=f"mean absolute error so far (C),\n{ahead} hours ahead",
    )  # fmt: skip
    if max(map(np.mean, simple.values())) > 10 * min(map(np.mean, simple.values())):
        ax.set_yscale("log")
    _legend(ax)


def _legend(ax: Any) -> None:
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _running(errors: np.ndarray) -> np.ndarray:
    """The mean of all errors until each week."""
    return np.cumsum(errors) / np.arange(1, len(errors) + 1)


def _line(ax: Any, x: np.ndarray, errors: np.ndarray, name: str) -> None:
    """The mean of all seeds, and their range."""
    method = name.partition(", ")[2]
    color = COLORS.get(method.partition(" ")[0], "C2")
    shown = [line.get_label() for line in ax.lines]
    again = any(label.startswith("TBPTT") for label in shown)  # the shorter window
    style = "--" if again else "-"
    ax.plot(x, errors.mean(axis=0), color=color, ls=style, lw=1.6, label=method)
    ax.fill_between(x, errors.min(0), errors.max(0), color=color, alpha=0.15, lw=0)
