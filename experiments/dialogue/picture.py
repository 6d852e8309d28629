"""The picture of a run: perplexity against the n-gram model, and a conversation."""

import textwrap
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from ..common import save_picture


def draw(
    path: Path,
    histories: list[list[dict[str, Any]]],
    perplexities: dict[str, list[float]],
    conversation: list[tuple[str, str]],
) -> None:
    """Draws three panels as a PNG file."""
    figure, axes = plt.subplots(
        1, 3, figsize=(16, 5), layout="constrained", width_ratios=(1, 1, 1.2)
    )
    _draw_histories(axes[0], histories)
    _draw_perplexities(axes[1], perplexities)
    _draw_conversation(axes[2], conversation)
    save_picture(path, figure)


def _draw_histories(ax: Any, histories: list[list[dict[str, Any]]]) -> None:
    for k, lines in enumerate(histories):
        evaluated = [line for line in lines if "perplexity" in line]
        updates = [line["update"] for line in evaluated]
        values = [line["perplexity"] for line in evaluated]
        ax.plot(updates, values, color=f"C{k}", label=f"split {k + 1}")
    ax.set(xlabel="update", ylabel="perplexity of replies", title="validation")
    ax.legend()


def _draw_perplexities(ax: Any, perplexities: dict[str, list[float]]) -> None:
    names = list(perplexities)
    means = [np.mean(values) for values in perplexities.values()]
    bars = ax.bar(names, means, color=["grey", "C0", "C2"][: len(names)], alpha=0.5)
    ax.bar_label(bars, fmt="%.1f", label_type="center")
    for values in zip(*perplexities.values(), strict=True):
        ax.plot(names, values, "o-", color="black", markersize=4, linewidth=0.7)
    ax.set(ylabel="perplexity of replies", title="test; each line is one split")


def _draw_conversation(ax: Any, conversation: list[tuple[str, str]]) -> None:
    wrap = lambda who, line: textwrap.wrap(
        f"{who}: {line}", 62, subsequent_indent="     "
    )
    said = [
        turn for line, reply in conversation for turn in (("you", line), ("bot", reply))
    ]
    lines = [(who, part) for who, line in said for part in wrap(who, line)]
    for k, (who, part) in enumerate(lines):
        color = "C0" if who == "bot" else "black"
        ax.text(0, -k, part, family="monospace", fontsize=9.5, color=color, va="top")
    ax.set(
        xlim=(0, 1), ylim=(-max(len(lines), 14), 0.5), title="a conversation, sampled"
    )
    ax.axis("off")
