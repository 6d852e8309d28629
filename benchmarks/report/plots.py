"""One picture for each figure: a panel for each case, a bar for each contender."""

import statistics
from pathlib import Path
from typing import Any

import matplotlib


matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .tables import TITLES, present, seconds, title, undecided, where


_OURS, _THEIRS, _FLOOR = "#1f6f8b", "#c9c5bd", "#b3402f"


def plot_figures(results: dict[str, Any], folder: Path) -> list[Path]:
    """Writes `<suite>-<figure>.png` for each figure that was measured."""
    written = []
    for figure in TITLES:
        cases = [c for c in results["cases"] if _bars(results, c, figure)]
        if cases:
            path = folder / f"{results['suite']}-{figure}.png"
            _plot(results, cases, figure, path)
            written.append(path)
    return written


def _bars(results: dict[str, Any], case: dict, figure: str) -> list[tuple[str, dict]]:
    """The contenders that have this figure."""
    return [
        (name, case["results"][name]["figures"][figure])
        for name in present(results)
        if name != results["floor"]
        and figure in case["results"].get(name, {}).get("figures", {})
    ]


def _floor(results: dict[str, Any], case: dict, figure: str) -> dict | None:
    figures = case["results"].get(results["floor"], {}).get("figures", {})
    return figures.get(figure)


def _plot(results: dict[str, Any], cases: list[dict], figure: str, path: Path) -> None:
    columns = min(len({case["case"]["kind"] for case in cases}), 3)
    columns = max(columns, 2 if len(cases) > 1 else 1)
    ordered = _by_column(cases, columns)
    rows = -(-len(ordered) // columns)
    bars = max(len(_bars(results, case, figure)) for case in cases)
    canvas, axes = plt.subplots(
        rows,
        columns,
        figsize=(5.2 * columns, rows * (0.21 * bars + 0.75) + 1.1),
        squeeze=False,
        dpi=110,
        layout="constrained",
    )
    for axis, case in zip(axes.flat, ordered, strict=False):
        _panel(axis, results, case, figure)
    for axis in axes.flat[len(ordered) :]:
        axis.axis("off")
    dashed = any(_floor(results, case, figure) for case in cases)
    canvas.suptitle(
        f"{TITLES[figure]}\n{where(results['machine'])}\ntime, less is better; lines "
        f"to the upper quartile{'; dashed: the matmuls alone' if dashed else ''}",
        fontsize=11 if columns > 1 else 9,
    )
    canvas.savefig(path)
    plt.close(canvas)


def _by_column(cases: list[dict], columns: int) -> list[dict]:
    """One column for each kind, if all kinds have as many cases."""
    kinds = list(dict.fromkeys(case["case"]["kind"] for case in cases))
    groups = [[c for c in cases if c["case"]["kind"] == kind] for kind in kinds]
    if len(groups) != columns or len({len(group) for group in groups}) != 1:
        return cases
    return [case for row in zip(*groups, strict=True) for case in row]


def _panel(axis: Axes, results: dict[str, Any], case: dict, figure: str) -> None:
    bars = _bars(results, case, figure)
    values = [found["seconds"] for _, found in bars]
    # A contender that is very slow is cut off, so that the others can be told apart.
    room = min(max(f["quartiles"][2] for _, f in bars), 4 * statistics.median(values))
    # Whiskers go to the upper quartile, as far as there is room.
    ends = [max(f["seconds"], min(f["quartiles"][2], room)) for _, f in bars]
    whiskers = [end - value for value, end in zip(values, ends, strict=True)]
    axis.barh(
        range(len(bars)),
        values,
        xerr=[[0.0] * len(bars), whiskers],
        color=[_OURS if n.startswith("jaxrnn") else _THEIRS for n, _ in bars],
        error_kw={"elinewidth": 0.8, "ecolor": "#555555"},
        height=0.72,
    )
    labels = [_label(results, case, name) for name, _ in bars]
    axis.set_yticks(range(len(bars)), labels, fontsize=8)
    axis.invert_yaxis()
    for row, ((name, found), end) in enumerate(zip(bars, ends, strict=True)):
        tie = "ratio" in found and undecided(found) and name != results["reference"]
        shown = f"{seconds(found['seconds'])}{' (tie)' if tie else ''}"
        _write(axis, row, shown, end, room, cut_off=found["seconds"] > room)
    axis.set_xlim(0, 1.25 * room)
    axis.set_xticks([])
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.set_title(case["name"], fontsize=9, loc="left")
    floor = _floor(results, case, figure)
    if floor is not None:
        at = floor["seconds"]
        axis.axvline(at, color=_FLOOR, linestyle="--", linewidth=1, zorder=0.5)


def _write(
    axis: Axes, row: int, shown: str, end: float, room: float, cut_off: bool
) -> None:
    """A bar's time behind it, or inside it if the bar is cut off."""
    at, side = (0.98 * room, "right") if cut_off else (end + 0.015 * room, "left")
    shown += " →" if cut_off else ""
    text = axis.text(at, row, shown, va="center", ha=side, fontsize=7.5)
    text.set_clip_on(True)
    # The box keeps the floor's line and the colour of the bar behind the text.
    text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})


def _label(results: dict[str, Any], case: dict, name: str) -> str:
    other = case["results"][name]["computes"] != case["case"]["kind"]
    return f"{title(results, name)}{' *' if other else ''}"
