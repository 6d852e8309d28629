"""The picture of a run: BLEU in the course of training and by length, and attention."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from ..common import save_picture


def draw(
    path: Path,
    metrics: list[dict[str, Any]],
    by_length: dict[str, list[tuple[str, int, float]]],
    example: tuple[list[str], list[str], np.ndarray],
) -> None:
    """Draws three panels as a PNG file."""
    figure, axes = plt.subplots(
        1, 3, figsize=(16, 5), layout="constrained", width_ratios=(1, 1.2, 1.3)
    )
    _draw_training(axes[0], [line for line in metrics if "bleu" in line])
    _draw_lengths(axes[1], by_length)
    _draw_attention(axes[2], *example)
    save_picture(path, figure)


def _draw_training(ax: Any, lines: list[dict[str, Any]]) -> None:
    updates = [line["update"] for line in lines]
    scores = [line["bleu"] for line in lines]
    ax.plot(updates, scores, "o-", color="C0")
    ax.set(
        xlabel="update",
        ylabel="BLEU, greedy",
        title="validation in the course of training",
    )
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.3)


def _draw_lengths(ax: Any, by_length: dict[str, list[tuple[str, int, float]]]) -> None:
    width = 0.8 / len(by_length)
    for k, (method, groups) in enumerate(by_length.items()):
        at = np.arange(len(groups)) + (k - (len(by_length) - 1) / 2) * width
        ax.bar(at, [score for *_, score in groups], width, label=method)
    ax.set_xticks(
        range(len(groups)), [f"{name}\n{n} sentences" for name, n, _ in groups]
    )
    ax.set(
        xlabel="words of the source", ylabel="BLEU", title="test sentences by length"
    )
    top = max(score for groups in by_length.values() for *_, score in groups)
    ax.set_ylim(0, 1.35 * max(top, 1))
    ax.legend(loc="upper right")


def _draw_attention(
    ax: Any, source: list[str], translation: list[str], weights: np.ndarray
) -> None:
    ax.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(
        range(len(source)), source, rotation=50, ha="left", rotation_mode="anchor"
    )
    ax.xaxis.tick_top()
    ax.set_yticks(range(len(translation)), translation)
    ax.set_xlabel(
        "attention of each English word on the German words of a test sentence"
    )
