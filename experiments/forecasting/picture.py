"""The picture: load with quantile bands, weather of a season, and returns against chance."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from sklearn.calibration import calibration_curve

from ..common import save_picture
from ..common.ett import SERIES


COLORS = {"GRU": "C0", "linear": "C1", "seasonal naive": "C2", "last value": "C3"}


def draw(
    path: Path, hours: dict[str, Any], weather: dict[str, Any], returns: dict[str, Any]
) -> None:
    """Draws three rows of panels as a PNG file, one for each task."""
    figure = plt.figure(figsize=(14, 12), layout="constrained")
    parts: Any = figure.subfigures(3, 1, hspace=0.05)
    top, middle, bottom = parts
    top.suptitle("Electricity load, 96 hours ahead (ETTh1, test part)")
    middle.suptitle("Weather of tomorrow (Seattle, last year)")
    bottom.suptitle(
        "Returns of tomorrow, mean and 95 % confidence interval (last fifth)"
    )
    _draw_hours(top.subplots(1, 4, width_ratios=(1.3, 1.3, 1, 1)), hours)
    _draw_weather(middle.subplots(1, 2, width_ratios=(2.4, 1)), weather)
    _draw_returns(bottom.subplots(1, 2, sharey=True), returns)
    save_picture(path, figure)


def _draw_hours(axes: Any, data: dict[str, Any]) -> None:
    window, ahead = len(data["truth"]) // 3, data["truth"].shape[-1]
    for ax, channel in zip(axes, (0, 6), strict=False):
        _draw_bands(ax, data, window, channel)
        ax.set(title=SERIES[channel], xlabel="hour", ylabel="scaled value")
    axes[0].legend(fontsize=8)
    for name, curve in data["curves"].items():
        if name != "last value":  # far above the others
            axes[2].plot(np.arange(1, ahead + 1), curve, COLORS[name], label=name)
    axes[2].set(title="error by hour ahead", xlabel="hours ahead", ylabel="MSE")
    axes[2].set_ylim(bottom=0)
    axes[2].legend(fontsize=8)
    axes[3].plot([0, 1], [0, 1], "--", color="grey", label="ideal")
    axes[3].plot(data["quantiles"], data["below"], "o-", color="C0", label="GRU")
    axes[3].set(
        title="coverage", xlabel="quantile", ylabel="observations below", aspect="equal"
    )
    axes[3].legend(fontsize=8)


def _draw_bands(ax: Any, data: dict[str, Any], window: int, channel: int) -> None:
    past, truth = data["past"][window, channel], data["truth"][window, channel]
    bands = data["forecast"][window, channel]
    back = min(len(past), len(truth))
    hours, quantiles = np.arange(1, len(truth) + 1), data["quantiles"]
    ax.plot(np.arange(1 - back, 1), past[-back:], color="0.5", linewidth=1)
    ax.plot(hours, truth, color="0.2", linewidth=1, label="observed")
    for low in range(len(quantiles) // 2):
        share = round(100 * (quantiles[-1 - low] - quantiles[low]))
        ax.fill_between(
            hours, bands[:, low], bands[:, -1 - low], color="C0", linewidth=0,
            alpha=0.2 + 0.15 * low, label=f"{share} % interval",
        )  # fmt: skip
    ax.plot(hours, bands[:, len(quantiles) // 2], color="C0", label="median")
    ax.axvline(0.5, color="0.8", linewidth=1)


def _draw_weather(axes: Any, data: dict[str, Any]) -> None:
    (warm, rain), (warmth, chance) = data["truth"], data["GRU"]
    errors, scores = data["rows"]
    days = np.arange(1, len(warm) + 1)
    axes[0].plot(days, warm, color="0.2", linewidth=1, label="observed")
    axes[0].plot(days, warmth, color="C0", linewidth=1.2, label="GRU, a day ahead")
    axes[0].set(
        title=f"maximum temperature: mean absolute error (C) {_compared(errors)}",
        xlabel="day of the test year", ylabel="C", xlim=(1, len(warm)),
    )  # fmt: skip
    axes[0].legend(fontsize=8)
    fraction, mean = calibration_curve(rain, chance, n_bins=8, strategy="quantile")
    axes[1].plot([0, 1], [0, 1], "--", color="grey", label="ideal")
    axes[1].plot(mean, fraction, "o-", color="C0", label="GRU")
    axes[1].set(
        title=f"rain: Brier score {_compared(scores)}", xlabel="forecast probability",
        ylabel="frequency of rain",
    )  # fmt: skip
    axes[1].legend(fontsize=8)


def _compared(row: Any) -> str:
    best = min(row.baselines, key=row.baselines.get)
    return f"{np.mean(row.values):.3f}\n({best} {row.baselines[best]:.3f})"


def _draw_returns(axes: Any, intervals: dict[str, Any]) -> None:
    names = list(intervals)
    for ax, chance, measure in zip(axes, (1.0, 0.5), intervals[names[0]], strict=True):
        for y, name in enumerate(names):
            mean, low, high = intervals[name][measure]
            bars = [[mean - low], [high - mean]]
            color = "C0" if "GRU" in name else "C1"
            ax.errorbar([mean], [y], xerr=bars, fmt="o", color=color, capsize=4)
        ax.axvline(chance, color="grey", linestyle="--")
        ax.set(title=f"{measure}  (chance: {chance})", ylim=(len(names) - 0.5, -0.5))
    axes[0].set_yticks(range(len(names)), names)
