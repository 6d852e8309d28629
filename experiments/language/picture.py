"""The picture: bits per character during training, and at the end against counts."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from ..common import save_picture


def draw(
    path: Path,
    title: str,
    curves: dict[str, list[dict[str, Any]]],
    baselines: dict[str, float],
) -> None:
    """Draws two panels as a PNG file."""
    figure, (during, end) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    figure.suptitle(f"{title}: held-out text")
    final = {}
    for cell, lines in curves.items():
        evaluated = [line for line in lines if "bits" in line]
        bits = [line["bits"] for line in evaluated]
        during.plot([line["update"] for line in evaluated], bits, "o-", label=cell)
        final[cell] = bits[-1]
    during.set(xlabel="update", ylabel="bits per character", title="during training")
    during.legend()
    names = [*baselines, *final]
    values = [*baselines.values(), *final.values()]
    colors = ["lightgrey"] * len(baselines) + [f"C{i}" for i in range(len(final))]
    bars = end.barh(names[::-1], values[::-1], color=colors[::-1])
    end.bar_label(bars, fmt="%.2f", padding=3)
    end.set(xlabel="bits per character", title="at the end; grey: counts of contexts")
    end.margins(x=0.12)
    save_picture(path, figure)
