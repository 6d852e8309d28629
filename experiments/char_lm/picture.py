"""The picture of a run: loss, bits per character against baselines, gradient by lag."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from jaxrnn import diagnostics

from ..common import save_picture


def draw(
    path: Path,
    title: str,
    metrics: list[dict[str, Any]],
    baselines: dict[str, float],
    norms: np.ndarray,
) -> None:
    """Draws three panels as a PNG file."""
    figure, (loss, bits, lag) = plt.subplots(
        1, 3, figsize=(14, 4.2), layout="constrained"
    )
    figure.suptitle(title)
    _draw_loss(loss, [m for m in metrics if "loss" in m])
    _draw_bits(bits, [m for m in metrics if "bits" in m], baselines)
    diagnostics.plot_gradient_norm_by_lag(lag, norms)
    save_picture(path, figure)


def _draw_loss(ax: Any, lines: list[dict[str, Any]]) -> None:
    updates = np.array([line["update"] for line in lines])
    losses = np.array([line["loss"] for line in lines])
    ax.plot(updates, losses, color="C0", alpha=0.3, linewidth=0.7, label="each batch")
    width = max(1, len(losses) // 40)
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    middles = updates[(width - 1) // 2 :][: len(smooth)]
    ax.plot(middles, smooth, color="C0", label=f"mean of {width}")
    ax.set(xlabel="update", ylabel="nats per symbol", title="training loss")
    ax.legend()


def _draw_bits(
    ax: Any, lines: list[dict[str, Any]], baselines: dict[str, float]
) -> None:
    updates = [line["update"] for line in lines]
    bits = [line["bits"] for line in lines]
    ax.plot(updates, bits, "o-", color="C1", label=f"LSTM: {bits[-1]:.2f}")
    for style, (name, value) in zip(("--", ":"), baselines.items(), strict=True):
        ax.axhline(value, color="grey", linestyle=style, label=f"{name}: {value:.2f}")
    ax.set(xlabel="update", ylabel="bits per character", title="held-out text")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.legend()
