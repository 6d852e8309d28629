"""One picture a figure: a panel for each case, a bar for each contender."""

import statistics
from pathlib import Path
from typing import Any

import matplotlib


matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from ..peers import FLOOR
from .tables import TITLES, present, seconds, title


_OURS, _THEIRS, _FLOOR = "#1f6f8b", "#c9c5bd", "#b3402f"


def plot_figures(results: dict[str, Any], folder: Path) -> list[Path]:
    """Writes `<suite>-<figure>.png` for each figure that there is."""
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
        if name != FLOOR and figure in case["results"].get(name, {}).get("figures", {})
    ]


def _plot(results: dict[str, Any], cases: list[dict], figure: str, path: Path) -> None:
    columns = min(len({case["case"]["kind"] for case in cases}), 3)
    columns = max(columns, 2 if len(cases) > 1 else 1)
    ordered = _by_column(cases, columns)
    rows = -(-len(ordered) // columns)
    bars = max(len(_bars(results, case, figure)) for case in cases)
    height = rows * (0.21 * bars + 0.75) + 0.9
    canvas, axes = plt.subplots(
        rows,
        columns,
        figsize=(5.2 * columns, height),
        squeeze=False,
        dpi=110,
        layout="constrained",
    )
    for axis, case in zip(axes.flat, ordered, strict=False):
        if case is None:
            axis.axis("off")
        else:
            _panel(axis, results, case, figure)
    for axis in list(axes.flat)[len(ordered) :]:
        axis.axis("off")
    machine = results["machine"]
    where = machine["gpus"][0] if machine["gpus"] else f"{machine['cpu']}, "
    where += "" if machine["gpus"] else f"{machine['cores']} cores"
    floors = (case["results"].get(FLOOR, {}).get("figures") for case in cases)
    dashed = "; dashed: the matrix products alone" if any(floors) else ""
    canvas.suptitle(
        f"{TITLES[figure]}\n{where}: time, less is better{dashed}",
        fontsize=11 if columns > 1 else 9,
    )
    canvas.savefig(path)
    plt.close(canvas)


def _by_column(cases: list[dict], columns: int) -> list[dict | None]:
    """Cases of one kind below each other, if there are as many kinds as columns."""
    kinds = list(dict.fromkeys(case["case"]["kind"] for case in cases))
    if len(kinds) != columns:
        return list(cases)
    groups = [[c for c in cases if c["case"]["kind"] == kind] for kind in kinds]
    depth = max(map(len, groups))
    padded = [group + [None] * (depth - len(group)) for group in groups]
    return [group[row] for row in range(depth) for group in padded]


def _panel(axis: Axes, results: dict[str, Any], case: dict, figure: str) -> None:
    bars = _bars(results, case, figure)
    labels = [_label(results, case, name) for name, _ in bars]
    values = [found["seconds"] for _, found in bars]
    ends = [found["median"] for _, found in bars]
    # One that is very slow would leave nothing to see of the others.
    room = min(max(ends), 4 * statistics.median(values))
    # From the figure to the median of all turns, as far as there is room for it.
    ends = [max(value, min(end, room)) for value, end in zip(values, ends, strict=True)]
    late = [end - value for value, end in zip(values, ends, strict=True)]
    axis.barh(
        range(len(bars)),
        values,
        xerr=[[0.0] * len(bars), late],
        color=[_OURS if n.startswith("jaxrnn") else _THEIRS for n, _ in bars],
        error_kw={"elinewidth": 0.8, "ecolor": "#555555"},
        height=0.72,
    )
    axis.set_yticks(range(len(bars)), labels, fontsize=8)
    axis.invert_yaxis()
    for row, (value, end) in enumerate(zip(values, ends, strict=True)):
        inside = value > room
        at = 0.98 * room if inside else end + 0.015 * room
        shown = f"{seconds(value)} →" if inside else seconds(value)
        side = "right" if inside else "left"
        text = axis.text(at, row, shown, va="center", ha=side, fontsize=7.5)
        text.set_clip_on(True)
        if not inside:  # the floor's line passes behind it
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})
    axis.set_xlim(0, 1.18 * room)
    axis.set_xticks([])
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.set_title(case["name"], fontsize=9, loc="left")
    floor = case["results"].get(FLOOR, {}).get("figures", {}).get(figure)
    if floor:
        axis.axvline(
            floor["seconds"], color=_FLOOR, linestyle="--", linewidth=1, zorder=0.5
        )


def _label(results: dict[str, Any], case: dict, name: str) -> str:
    other = case["results"][name]["computes"] != case["case"]["kind"]
    return f"{title(results, name)}{' *' if other else ''}"
