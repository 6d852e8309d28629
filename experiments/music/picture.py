"""The picture of a run: nats per chord of every network, and two chorales as piano rolls."""

from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from ..common import Result, save_picture
from .data import Piece


COLOURS = ("C0", "C2", "C1", "C3")
"""The colours of the voices, from the lowest."""
NAMES = ("bass", "tenor", "alto", "soprano")


def draw(
    path: Path,
    rows: list[Result],
    counted: dict[str, float],
    bach: Piece,
    written: Piece,
    opening: int,
) -> None:
    """Draws bars, the beginning of the real piece, and its continuation by the network."""
    figure = plt.figure(figsize=(13, 7.4), layout="constrained")
    bars, *scores = figure.subplot_mosaic(
        "ab;ac", width_ratios=(1, 1.6), empty_sentinel="."
    ).values()
    _bars(bars, rows, counted)
    notes = [note for chord in [*bach, *written] for note in chord]
    limits = min(notes) - 2, max(notes) + 2
    titles = "a chorale of the test set", "the same opening, continued by GRU + GRU"
    for ax, piece, title in zip(scores, (bach, written), titles, strict=True):
        _score(ax, piece[: len(written)], title, opening)
        ax.set(xlim=(0, len(written)), ylim=limits)
    scores[0].legend(
        ncols=4, loc="lower right", bbox_to_anchor=(1, 1), fontsize=8, frameon=False
    )
    scores[1].set_xlabel("quarter note")
    save_picture(path, figure)


def _bars(ax: Any, rows: list[Result], counted: dict[str, float]) -> None:
    labels = [*counted, *(f"{row.cell}" for row in rows)]
    values = [*counted.values(), *(mean(row.values) for row in rows)]
    is_joint = lambda label: label == "voice Markov" or "+" in label
    colours = ["C4" if is_joint(label) else "C0" for label in labels]
    alphas = [0.45 if label in counted else 1.0 for label in labels]
    places = np.arange(len(labels))[::-1]
    for place, value, colour, alpha in zip(
        places, values, colours, alphas, strict=True
    ):
        ax.barh(place, value, color=colour, alpha=alpha)
        ax.text(value - 0.15, place, f"{value:.2f}", va="center", ha="right")
    for place, row in zip(places[len(counted) :], rows, strict=True):
        for source, value in row.published.items():
            ax.plot([value, value], [place - 0.4, place + 0.4], color="black")
            name = source.partition(" (")[0]
            ax.text(value + 0.1, place, f"{value:.2f}\n{name}", va="center", fontsize=7)
    ax.set(yticks=places, yticklabels=labels, xlim=(0, 13.5), xlabel=rows[0].measure)
    ax.set_title("test pieces, lower is better; black line: published", fontsize=10)
    for colour, name in (("C0", "notes independent"), ("C4", "note after note")):
        ax.barh(0, 0, color=colour, label=name)
    ax.legend(loc="lower right", fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def _score(ax: Any, piece: Piece, title: str, opening: int) -> None:
    """A piano roll; a note that goes on is one bar."""
    for voice, (colour, name) in enumerate(zip(COLOURS, NAMES, strict=True)):
        for start, end, note in held(piece, voice):
            ax.barh(note, end - start - 0.08, 0.9, left=start, color=colour)
        ax.barh(0, 0, color=colour, label=name)
    ax.axvspan(0, opening, color="black", alpha=0.08, zorder=0)
    for octave in range(24, 109, 12):
        ax.axhline(octave, color="black", linewidth=0.4, alpha=0.3, zorder=0)
    octaves = np.arange(24, 109, 12)
    ax.set_yticks(octaves, [f"C{o // 12 - 1}" for o in octaves])
    ax.set_xticks(range(0, len(piece) + 1, 4))
    ax.set_title(title, fontsize=10, loc="left")
    ax.spines[["top", "right"]].set_visible(False)


def held(piece: Piece, voice: int) -> list[tuple[int, int, int]]:
    """Start, end and MIDI number of the notes of one voice, counted from the lowest.

    The highest note belongs to the soprano, even in a chord of three notes.
    """
    found: list[tuple[int, int, int]] = []
    for t, chord in enumerate(piece):
        notes = chord[-1:] if voice == 3 else chord[:-1][voice : voice + 1]
        if not notes:
            continue
        (note,) = notes
        if found and found[-1][1:] == (t, note):
            found[-1] = (found[-1][0], t + 1, note)
        else:
            found.append((t, t + 1, note))
    return found
