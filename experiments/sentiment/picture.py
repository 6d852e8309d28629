"""The picture: accuracy of each variant, fold by fold, and sentences word by word."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from ..common import save_picture


Example = tuple[str, list[float], bool, float]
"""A sentence, the contribution of each word, whether it is positive, and its score."""


def draw(
    path: Path,
    accuracies: dict[str, list[float]],
    baseline: list[float],
    published: dict[str, float],
    examples: list[Example],
) -> None:
    """Draws the folds on the left, and the contributions of words on the right."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(15, 6.5), layout="constrained", width_ratios=(1, 1.3)
    )
    _draw_folds(left, {"naive Bayes": baseline, **accuracies}, published)
    _draw_words(right, examples)
    save_picture(path, figure)


def _draw_folds(
    ax: Any, accuracies: dict[str, list[float]], published: dict[str, float]
) -> None:
    for place, values in enumerate(accuracies.values()):
        color = "C1" if place == 0 else "C0"
        jitter = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else 0
        ax.plot(values, place + jitter, "o", color=color, alpha=0.4)
        ax.plot(
            np.mean(values), place, "|", color=color, markersize=28, markeredgewidth=3
        )
        ax.text(np.mean(values), place - 0.33, f"{np.mean(values):.1f}", ha="center")
    for name, value in published.items():
        ax.axvline(value, color="grey", linestyle="--", label=f"{name}: {value}")
    names = [f"{name}\n{len(v)} folds" for name, v in accuracies.items()]
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set(xlabel="accuracy of a fold, %", title="GRU by its dropout, and naive Bayes")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), frameon=False)


def _draw_words(ax: Any, examples: list[Example]) -> None:
    """Each word in the color of the change in score when it becomes unknown."""
    ax.axis("off")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.set_title(
        "Test sentences; each word in the color of its contribution to the score\n"
        "(red: for negative, blue: for positive)"
    )
    y = 0.97
    words = {True: "positive", False: "negative"}
    for text, contributions, positive, score in examples:
        right = "right" if (score > 0) == positive else "wrong"
        verdict = f"{words[positive]}; the model: {words[score > 0]}, {right}"
        ax.text(0, y, verdict, weight="bold", va="top")
        y, x = y - 0.045, 0.0
        for word, value in zip(text.split(), contributions, strict=True):
            width = 0.0145 * (len(word) + 1)
            if x + width > 1:
                x, y = 0.0, y - 0.05
            color = plt.get_cmap("RdBu")(0.5 + 0.5 * np.tanh(value / 2))
            box = {"facecolor": color, "edgecolor": "none", "pad": 1.5}
            dark = abs(np.tanh(value / 2)) > 0.6
            ax.text(
                x, y, word, va="top", family="monospace", fontsize=9.5, bbox=box,
                color="white" if dark else "black",
            )  # fmt: skip
            x += width
        y -= 0.075
