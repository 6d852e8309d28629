"""The picture of a run: measures, and a sheet of real, sampled and continued characters."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from ..common import save_picture
from .data import BOX, Character


COLUMNS = 12


def draw(
    path: Path,
    nats: dict[str, float],
    accuracies: dict[str, float],
    sheets: dict[str, list[Character]],
    given: list[Character],
) -> None:
    """Draws bars, and the sheets with `COLUMNS` characters a line.

    Args:
        nats: nats per point, by model.
        accuracies: accuracy on the digits, by model.
        sheets: the characters by title; the last sheet begins with the strokes in `given`.
    """
    lines = {title: -(-len(sheet) // COLUMNS) for title, sheet in sheets.items()}
    figure = plt.figure(
        figsize=(12, 3 + 1.05 * sum(lines.values())), layout="constrained"
    )
    # matplotlib's types do not say that several subfigures are an array
    top, *parts = figure.subfigures(  # type: ignore[misc]
        1 + len(sheets), 1, height_ratios=[2.6, *(0.35 + n for n in lines.values())]
    )
    left, right = top.subplots(1, 2, width_ratios=(1.7, 1))
    _bars(left, nats, "nats per point, held-out characters (lower is better)", "{:.2f}")
    _bars(right, accuracies, "accuracy, held-out digits", "{:.3f}")
    right.set_xlim(0.9, 1.005)
    kinds = [Patch(color="C0", label="network"), Patch(color="0.7", label="baseline")]
    left.legend(handles=kinds, loc="lower right", fontsize=8)
    for part, (title, sheet) in zip(parts, sheets.items(), strict=True):
        _sheet(part, title, sheet, given if title == [*sheets][-1] else [])
    save_picture(path, figure)


def _bars(ax: Any, values: dict[str, float], title: str, form: str) -> None:
    places = np.arange(len(values))[::-1]
    networks = [name.startswith(("LSTM", "GRU")) for name in values]
    colours = ["C0" if network else "0.7" for network in networks]
    ax.barh(places, list(values.values()), color=colours)
    for place, value in zip(places, values.values(), strict=True):
        ax.annotate(
            form.format(value), (value, place), (4 if value > 0 else -4, 0),
            textcoords="offset points", va="center", ha="left" if value > 0 else "right",
        )  # fmt: skip
    ax.axvline(0, color="black", linewidth=0.8)
    ax.margins(x=0.15)
    ax.set_yticks(places, list(values))
    ax.set_title(title, fontsize=10, loc="left")
    ax.spines[["top", "right"]].set_visible(False)


def _sheet(part: Any, title: str, sheet: list[Character], given: Any) -> None:
    part.suptitle(title, fontsize=11, x=0.01, ha="left")
    lines = -(-len(sheet) // COLUMNS)
    boxes = part.subplots(lines, COLUMNS, squeeze=False).ravel()
    for box in boxes:
        box.set(xlim=(-4, BOX + 4), ylim=(BOX + 4, -4), aspect="equal")
        box.set(xticks=[], yticks=[])
        box.spines[:].set_color("0.88")
    for i, (box, character) in enumerate(zip(boxes, sheet, strict=False)):
        before = len(given[i]) if given else 0
        for s, stroke in enumerate(character):
            colour = "0.62" if s < before else "black"
            box.plot(*stroke.T, color=colour, linewidth=1.7, solid_capstyle="round")
