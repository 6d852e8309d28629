"""Scores of the tags, and the average precision of each."""

from typing import Any

import jax
import numpy as np
from sklearn.metrics import average_precision_score

import jaxrnn

from ..common import Result
from .data import DIGITS
from .model import as_floats


GROUPS = {
    "all tags": slice(None),
    "digits": slice(len(DIGITS)),
    "motions": slice(len(DIGITS), None),
}


def score(model: jaxrnn.Layer, params: Any, frames: np.ndarray) -> np.ndarray:
    """The scores of each tag `(T, B, tags)`: the mean over the frames seen so far."""
    unrolled = jax.jit(lambda xs: jaxrnn.unroll(model, params, as_floats(xs))[1])
    parts = np.array_split(frames, max(1, frames.shape[1] // 100), axis=1)
    ys = np.concatenate([unrolled(part) for part in parts], axis=1)
    return ys.cumsum(axis=0) / np.arange(1, len(ys) + 1)[:, None, None]


def precision(tags: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The average precision of each tag."""
    return average_precision_score(tags, scores, average=None)


def mean(precisions: list[np.ndarray], group: str) -> float:
    """The mean average precision of a group of tags, over all seeds."""
    return float(np.mean([p[GROUPS[group]] for p in precisions]))


def row(
    name: str,
    group: str,
    precisions: dict[str, list[np.ndarray]],
    size: int,
    seconds: float,
) -> Result:
    """The result of one model for one group of tags."""
    gru = name == "GRU"
    values = tuple(float(p[GROUPS[group]].mean()) for p in precisions[name])
    others = {
        "single frames": mean(precisions["single frames"], group),
        "the same GRU, frames shuffled": mean(precisions["shuffled"], group),
    }
    return Result(
        f"tags of a video: {group} (many-to-one)",
        name,
        size,
        "mAP",
        values,
        seconds,
        goal="at least 0.95" if gru and group == "all tags" else "",
        baselines=others if gru else {},
        headline=gru,
    )
