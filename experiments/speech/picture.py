"""The picture of a run: one string with its CTC outputs, and the speakers left out."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from ..common import save_picture
from .data import DIGITS


def draw(
    path: Path,
    mel: np.ndarray,
    probabilities: np.ndarray,
    said: list[int],
    found: list[int],
    accuracies: dict[str, dict[str, float]],
) -> None:
    """Draws three panels as a PNG file.

    Args:
        path: the file.
        mel: log-mel spectra of a string, a frame every 10 ms, `(frames, bands)`.
        probabilities: of each digit and the blank at each step, `(T, 11)`.
        said: the digits that were spoken.
        found: the digits that were recognized.
        accuracies: by method and then by the speaker who was left out.
    """
    figure = plt.figure(figsize=(13, 5.4), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.35, 1))
    sound = figure.add_subplot(grid[0, 0])
    outputs = figure.add_subplot(grid[1, 0], sharex=sound)
    seconds = len(mel) / 100
    sound.imshow(
        mel.T, aspect="auto", origin="lower", extent=(0, seconds, 0, mel.shape[1])
    )
    text = lambda digits: " ".join(map(str, digits))
    sound.set(ylabel="mel band", title=f"a string of recordings: {text(said)}")
    _draw_outputs(outputs, probabilities, seconds)
    outputs.set_title(f"CTC outputs; beam search reads: {text(found)}")
    _draw_speakers(figure.add_subplot(grid[:, 1]), accuracies)
    save_picture(path, figure)


def _draw_outputs(ax: Any, probabilities: np.ndarray, seconds: float) -> None:
    times = (np.arange(len(probabilities)) + 0.5) * seconds / len(probabilities)
    ax.plot(times, probabilities[:, -1], color="lightgrey", label="blank")
    for digit in range(DIGITS):
        values = probabilities[:, digit]
        if values.max() < 0.3:
            continue
        ax.fill_between(times, values, color=f"C{digit}", alpha=0.3)
        ax.plot(times, values, color=f"C{digit}", label=str(digit))
    ax.set(xlabel="seconds", ylabel="probability", ylim=(0, 1.05))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")


def _draw_speakers(ax: Any, accuracies: dict[str, dict[str, float]]) -> None:
    width = 0.8 / len(accuracies)
    for i, (method, by_speaker) in enumerate(accuracies.items()):
        values = list(by_speaker.values())
        places = np.arange(len(values)) + (i - (len(accuracies) - 1) / 2) * width
        label = f"{method}, mean {np.mean(values):.3f}"
        bars = ax.bar(places, values, width, label=label, color=f"C{i}")
        ax.bar_label(
            bars, [f"{100 * v:.0f}" for v in values], fontsize="small", padding=1
        )
    ax.axhline(0.1, color="grey", linestyle=":", label="chance")
    ax.set_xticks(range(len(by_speaker)), list(by_speaker))
    ax.set(xlabel="speaker left out", ylabel="accuracy", ylim=(0, 1.28))
    ax.set_yticks(np.arange(0, 1.01, 0.2))
    ax.set_title("digits of a speaker who was left out")
    ax.legend(loc="upper center", ncols=2, fontsize="small")
