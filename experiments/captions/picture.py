"""The picture: test emoji with their true names, and the names that were written."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from ..common import save_picture
from .data import Emoji


COLUMNS, ROWS = 3, 6
TITLES = {
    "tone": "a new skin tone",
    "person": "a new person",
    "picture": "a new picture",
}


def draw(
    path: Path, emoji: Emoji, written: dict[str, list[str]], nearest: list[str]
) -> None:
    """Draws a column of emoji for each test, drawn at random."""
    figure, axes = plt.subplots(
        ROWS,
        COLUMNS,
        figsize=(17, 1.1 * ROWS + 0.6),
        layout="constrained",
        squeeze=False,
    )
    figure.suptitle(
        "Test emoji: the true name, and the names by greedy decoding, beam search and the "
        "nearest training picture; green: right in every word"
    )
    names = {
        "greedy": written["greedy"],
        "beam": written["beam search"],
        "nearest": nearest,
    }
    rng = np.random.default_rng(3)
    for column, (part, title) in zip(axes.T, TITLES.items(), strict=True):
        column[0].set_title(title, loc="left", weight="bold")
        chosen = rng.permutation(np.flatnonzero(emoji.parts == part))[:ROWS]
        for ax in column:
            ax.axis("off")
        for ax, number in zip(column, chosen, strict=False):
            _draw_one(ax, emoji, int(number), names)
    save_picture(path, figure)


def _draw_one(ax: Any, emoji: Emoji, number: int, names: dict[str, list[str]]) -> None:
    ax.imshow(emoji.pictures[number], extent=(0, 1, 0, 1))
    ax.set(xlim=(0, 5.6), ylim=(0, 1))
    true = emoji.names[number]
    ax.text(1.1, 0.86, f"true: {true}", va="center", fontsize=9)
    for y, (way, written) in zip((0.62, 0.38, 0.14), names.items(), strict=True):
        color = "tab:green" if written[number] == true else "tab:red"
        ax.text(
            1.1, y, f"{way}: {written[number]}", va="center", fontsize=9, color=color
        )
