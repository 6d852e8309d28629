"""The picture of a run: accuracy by frames heard, confusions, and one sequence."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay

from ..common import save_picture
from .data import Sequences


def draw(
    path: Path, test: Sequences, guess: np.ndarray, heard: np.ndarray, nearest: float
) -> None:
    """Draws three panels as a PNG file."""
    figure, (one, frames, confusions) = plt.subplots(
        1, 3, figsize=(14, 4.2), layout="constrained"
    )
    _draw_sequence(figure, one, test)
    _draw_heard(frames, heard, test.lengths, nearest)
    display = ConfusionMatrixDisplay.from_predictions(
        test.speakers + 1, guess + 1, ax=confusions, colorbar=False, cmap="Blues"
    )
    assert display.text_ is not None
    for text in display.text_.ravel():
        text.set_text("" if text.get_text() == "0" else text.get_text())
    errors = int(np.sum(test.speakers != guess))
    confusions.set(
        title=f"{errors} errors in {len(guess)} sequences (first training)",
        xlabel="predicted speaker",
        ylabel="speaker",
    )
    save_picture(path, figure)


def _draw_sequence(figure: Any, ax: Any, test: Sequences) -> None:
    """The sequence of median length."""
    row = int(np.argsort(test.lengths, kind="stable")[len(test.lengths) // 2])
    values = test.frames[: test.lengths[row], row].T
    largest = np.abs(values).max()
    image = ax.imshow(
        values, aspect="auto", cmap="RdBu", vmin=-largest, vmax=largest, origin="lower"
    )
    figure.colorbar(image, ax=ax, label="standardized value")
    ax.set(
        title=f"one sequence, speaker {test.speakers[row] + 1}",
        xlabel="frame",
        ylabel="cepstral coefficient",
    )


def _draw_heard(
    ax: Any, heard: np.ndarray, lengths: np.ndarray, nearest: float
) -> None:
    frames = np.arange(1, heard.shape[1] + 1)
    mean = heard.mean(axis=0)
    ax.fill_between(frames, heard.min(axis=0), heard.max(axis=0), alpha=0.25)
    ax.plot(frames, mean, label=f"GRU, mean of {len(heard)}: {mean[-1]:.3f} at the end")
    ax.axhline(
        nearest, color="grey", linestyle="--",
        label=f"1-NN, time warping, all frames: {nearest:.3f}",
    )  # fmt: skip
    short, long = lengths.min(), lengths.max()
    ax.axvspan(short, long, color="C1", alpha=0.1, label="lengths of the sequences")
    ax.set(
        xlabel="frames heard", ylabel="accuracy", title="accuracy by frames heard",
        xlim=(1, frames[-1]), ylim=(0, 1.02),
    )  # fmt: skip
    ax.legend(loc="lower right")
