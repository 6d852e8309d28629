"""The picture: clips with their tags as the frames arrive, and both models tag by tag."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from ..common import save_picture
from .data import FRAMES, TAGS, Clips


SHOWN = 3
MOMENTS = np.linspace(0, FRAMES - 1, 6).astype(int)


def draw(
    path: Path,
    test: Clips,
    scores: dict[str, np.ndarray],
    precisions: dict[str, list[np.ndarray]],
) -> None:
    """Draws three clips with the GRU's probabilities over time, and the bars of all tags."""
    figure = plt.figure(figsize=(14, 11), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(2.1, 1))
    top, bottom = halves
    axes = top.subplots(SHOWN, 2, width_ratios=(1.25, 1))
    top.suptitle("Three test clips, and the GRU's tags as the frames arrive")
    for (left, right), clip in zip(axes, _different(test.tags), strict=True):
        _draw_frames(left, test, clip)
        _draw_probabilities(right, scores["GRU"][:, clip], test.tags[clip])
    axes[-1, 1].set_xlabel("frames seen")
    _draw_bars(bottom.subplots(), precisions)
    save_picture(path, figure)


def _different(tags: np.ndarray) -> list[int]:
    """The first clips that share no tag."""
    chosen: list[int] = []
    for clip, own in enumerate(tags):
        if len(chosen) < SHOWN and not (tags[chosen] & own).any():
            chosen.append(clip)
    return chosen


def _draw_frames(ax: Any, test: Clips, clip: int) -> None:
    frames = np.pad(
        test.frames[MOMENTS, clip], ((0, 0), (0, 0), (0, 1)), constant_values=255
    )
    ax.imshow(np.concatenate(frames, axis=1), cmap="gray", vmin=0, vmax=255)
    size = frames.shape[-1]
    ax.set_xticks(size * np.arange(len(MOMENTS)) + size / 2, MOMENTS + 1)
    ax.set_yticks([])
    names = ", ".join(TAGS[tag] for tag in np.flatnonzero(test.tags[clip]))
    ax.set(title=f"true tags: {names}", xlabel="frame")


def _draw_probabilities(ax: Any, scores: np.ndarray, tags: np.ndarray) -> None:
    probabilities = 1 / (1 + np.exp(-scores))
    highest = np.argsort(-probabilities[-1])[: tags.sum() + 2]
    for tag in sorted(
        {*np.flatnonzero(tags), *highest}, key=lambda t: -probabilities[-1, t]
    ):
        style = "-" if tags[tag] else ":"
        shown = f"{TAGS[tag]}" if tags[tag] else f"{TAGS[tag]} (wrong)"
        ax.plot(np.arange(1, FRAMES + 1), probabilities[:, tag], style, label=shown)
    ax.axhline(0.5, color="grey", linewidth=0.5)
    ax.set(ylim=(-0.02, 1.02), ylabel="probability", xlim=(1, FRAMES))
    ax.set_xticks([1, 5, 10, 15, 20])
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _draw_bars(ax: Any, precisions: dict[str, list[np.ndarray]]) -> None:
    places = np.arange(len(TAGS))
    names = {"GRU": "C0", "shuffled": "C1", "single frames": "C7"}
    labels = {"shuffled": "the same GRU, frames in random order"}
    for offset, (name, color) in zip((-0.27, 0, 0.27), names.items(), strict=True):
        heights = np.mean(precisions[name], axis=0)
        shown = f"{labels.get(name, name)}: mean {heights.mean():.2f}"
        ax.bar(places + offset, heights, 0.27, color=color, label=shown)
    ax.set_xticks(places, [tag.replace(" ", "\n") for tag in TAGS])
    ax.set(ylabel="average precision", ylim=(0, 1.2), title="Test clips, tag by tag")
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.legend(loc="upper center", ncols=3, frameon=False)
