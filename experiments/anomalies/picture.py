"""The picture: a stretch of the stream with faults, score and alarms; precision and recall."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import precision_recall_curve

from ..common import save_picture
from ..common.ett import SERIES
from .faults import KINDS, Stream
from .measures import SCORES


COLORS = ("C3", "C1", "C4", "C2")


def draw(
    path: Path,
    stream: Stream,
    scores: dict[str, list[np.ndarray]],
    simple: dict[str, np.ndarray],
    alarm: tuple[np.ndarray, float],
    rows: list[Any],
) -> None:
    """Draws a stretch of the stream on the left, and all methods on the right."""
    figure, axes = plt.subplot_mosaic(
        [["stream", "curve"], ["stream", "curve"], ["stream", "kinds"], ["score", "kinds"]],
        figsize=(15, 8.5), layout="constrained", width_ratios=(2, 1),
    )  # fmt: skip
    hours = slice(0, min(len(stream.values), 1000))
    _draw_stream(axes["stream"], stream, hours)
    _draw_score(axes["score"], stream, *alarm, hours)
    axes["score"].sharex(axes["stream"])
    gru = {f"GRU, {name}": values[0] for name, values in scores.items()}
    _draw_curves(axes["curve"], stream, gru | simple)
    _draw_kinds(axes["kinds"], [row for row in rows if not row.headline])
    save_picture(path, figure)


def _shade(ax: Any, stream: Stream, hours: slice) -> None:
    for fault in np.unique(stream.fault[hours]):
        if fault >= 0:
            (where,) = np.nonzero(stream.fault == fault)
            color = COLORS[stream.kind[where[0]]]
            ax.axvspan(where[0] - 0.5, where[-1] + 0.5, color=color, alpha=0.25, lw=0)


def _draw_stream(ax: Any, stream: Stream, hours: slice) -> None:
    _shade(ax, stream, hours)
    for channel, name in enumerate(SERIES):
        ax.plot(stream.values[hours, channel] / 6 - channel, color="0.25", lw=0.7)
        ax.text(-8, -channel, name, ha="right", va="center", fontsize=9)
    for fault in np.unique(stream.fault[hours]):
        if fault >= 0:
            (where,) = np.nonzero(stream.fault[hours] == fault)
            channel = stream.channel[fault]
            values = stream.values[where, channel] / 6 - channel
            color = COLORS[stream.kind[where[0]]]
            style = ".-" if len(where) < 4 else "-"
            ax.plot(where, values, style, color=color, lw=1.8)
    handles = [plt.Line2D([], [], color=color, lw=4) for color in COLORS]
    ax.legend(handles, KINDS, ncols=4, loc="lower right", fontsize=9)
    ax.set(
        title="stream with planted faults (color: the first sensor of each)", yticks=[]
    )


def _draw_score(
    ax: Any, stream: Stream, score: np.ndarray, limit: float, hours: slice
) -> None:
    _shade(ax, stream, hours)
    shown = np.maximum(score[hours], 0.1)
    alarms = np.nonzero(score[hours] > limit)[0]
    ax.semilogy(shown, color="C0", lw=0.8)
    ax.plot(alarms, np.full(len(alarms), 0.15), "|", color="k", ms=7, label="alarm")
    ax.axhline(limit, color="k", ls="--", lw=0.8, label="99.9 % of clean hours")
    ax.set(xlabel="hour of the test part", ylabel="score", title=f"GRU, {SCORES[1]}")
    ax.set_ylim(top=1000)
    ax.legend(fontsize=8, loc="upper right", ncols=2)


def _draw_curves(ax: Any, stream: Stream, scores: dict[str, np.ndarray]) -> None:
    faulty = stream.kind >= 0
    for name, score in scores.items():
        precision, recall, _ = precision_recall_curve(faulty, score)
        width = 2 if "GRU" in name else 1.2
        ax.plot(recall, precision, lw=width, label=name)
    ax.axhline(faulty.mean(), color="grey", ls=":", label="chance")
    ax.set(xlabel="recall", ylabel="precision", title="all faults", ylim=(0, 1.02))
    ax.legend(fontsize=8)


def _draw_kinds(ax: Any, rows: list[Any]) -> None:
    names = ["GRU", *rows[0].baselines]
    places, width = np.arange(len(rows)), 0.8 / len(names)
    for i, name in enumerate(names):
        heights = [np.mean(r.values) if i == 0 else r.baselines[name] for r in rows]
        label = f"GRU, {SCORES[1]}" if i == 0 else name
        color = "C1" if i == 0 else f"C{i + 1}"  # as in the curves
        ax.bar(places + i * width, heights, width, label=label, color=color)
    ax.set_xticks(places + 0.4 - width / 2, KINDS)
    ax.set(ylabel="average precision", title="by kind of fault (methods as above)")
