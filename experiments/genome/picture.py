"""The picture: bits per base by method, and the effect of each base near a junction."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from ..common import save_picture
from .data import CLASSES, LENGTH


NAMES = {"ei": "ei: exon, then intron (GT)", "ie": "ie: intron (AG), then exon"}
SIGNAL = {"ei": ("GT", 1), "ie": ("AG", -2)}
"""The known ends of introns, and where they begin, counted from the junction."""


def draw(
    path: Path,
    metrics: list[dict[str, Any]],
    bars: dict[str, dict[str, float]],
    effect: np.ndarray,
) -> None:
    """Draws the genome in the upper row and the junctions in the lower one."""
    figure = plt.figure(figsize=(13, 8), layout="constrained")
    top, bottom = np.ravel(figure.subplots(2, 2))[:2], figure.axes[2:]
    _draw_bits(top[0], bars)
    _draw_training(top[1], metrics, next(iter(bars.values())))
    for ax, name in zip(bottom, NAMES, strict=True):
        _draw_effect(ax, name, effect[CLASSES.index(name)])
    save_picture(path, figure)


def _draw_bits(ax: Any, bars: dict[str, dict[str, float]]) -> None:
    methods = list(next(iter(bars.values())))
    places, width = np.arange(len(bars)), 0.8 / len(methods)
    for i, method in enumerate(methods):
        heights = [values[method] for values in bars.values()]
        drawn = ax.bar(places + i * width, heights, width * 0.95, label=method)
        ax.bar_label(drawn, fmt="%.3f", fontsize=8)
    ax.axhline(2, color="grey", linestyle="--", linewidth=1, label="no knowledge")
    lowest = min(min(values.values()) for values in bars.values())
    highest = max(max(values.values()) for values in bars.values())
    ax.set_ylim(lowest - 0.03, max(2, highest) + 0.03)
    ax.set_xticks(places + 0.4 - width / 2, list(bars))
    ax.set(ylabel="bits per base (axis cut)", title="the next base")
    ax.legend(fontsize=8, loc="upper left", ncols=2)


def _draw_training(
    ax: Any, metrics: list[dict[str, Any]], simple: dict[str, float]
) -> None:
    losses = np.array([line["loss"] for line in metrics if "loss" in line]) / np.log(2)
    width = max(1, len(losses) // 60)
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    ax.plot(
        np.arange(len(smooth)) + width / 2, smooth, label=f"training, mean of {width}"
    )
    tested = [(line["update"], line["bits"]) for line in metrics if "bits" in line]
    ax.plot(*np.array(tested).T, "o-", label="validation tenth")
    for i, name in enumerate(list(simple)[1:]):
        ax.axhline(simple[name], color="grey", linestyle=("--", ":")[i], label=name)
    ax.set(xlabel="update", ylabel="bits per base", title="training of the GRU")
    ax.legend(fontsize=8)


def _draw_effect(ax: Any, name: str, effect: np.ndarray) -> None:
    half = LENGTH // 2
    places = np.concatenate((np.arange(-half, 0), np.arange(1, half + 1)))
    bases, first = SIGNAL[name]
    known = (places >= first) & (places < first + len(bases))
    ax.bar(places, effect, color=np.where(known, "C3", "C0"))
    for base, place, height in zip(bases, places[known], effect[known], strict=True):
        ax.text(
            place, height, base, ha="center", va="bottom", color="C3", weight="bold"
        )
    ax.axvline(0, color="grey", linewidth=1)
    ax.set(
        xlabel="base, counted from the junction", title=NAMES[name],
        ylabel="fall of log p(class)\nwhen the base is replaced",
    )  # fmt: skip
    ax.margins(y=0.1)
