"""Characters as sequences of pen movements, and back."""

from typing import NamedTuple

import numpy as np

from .data import BOX, Character


DRAW, LIFT, END = 0, 1, 2
"""What the pen does after a point: it goes on drawing, it is lifted, the character ends."""


class Movements(NamedTuple):
    """Characters side by side, padded to the same number of points.

    Attributes:
        offsets: `(T, B, 2)`, from each point to the next, the first from the centre of the
            box; in units of the standard deviation of the training offsets.
        pen: `(T, B)`, `DRAW`, `LIFT` or `END` after each point.
        lengths: `(B,)`, the points of each character.
    """

    offsets: np.ndarray
    pen: np.ndarray
    lengths: np.ndarray


def movements(characters: list[Character], time: int, unit: float) -> Movements:
    """Characters as offsets of the pen."""
    offsets = np.zeros((time, len(characters), 2), np.float32)
    pen = np.zeros((time, len(characters)), np.int32)
    lengths = np.zeros(len(characters), np.int32)
    for b, strokes in enumerate(characters):
        points = np.vstack([[[BOX / 2, BOX / 2]], *strokes])
        steps = np.diff(points, axis=0) / unit
        ends = np.cumsum([len(stroke) for stroke in strokes]) - 1
        offsets[: len(steps), b] = steps
        pen[ends, b] = LIFT
        pen[ends[-1], b] = END
        lengths[b] = len(steps)
    return Movements(offsets, pen, lengths)


def characters(drawn: Movements, unit: float) -> list[Character]:
    """The strokes of pen movements; the last one need not have ended."""
    found = []
    for b, length in enumerate(drawn.lengths):
        points = BOX / 2 + unit * np.cumsum(drawn.offsets[:length, b], axis=0)
        lifts = np.flatnonzero(drawn.pen[: length - 1, b] == LIFT) + 1
        found.append(np.split(points, lifts))
    return found


def some(batch: Movements, count: int) -> Movements:
    """Characters at even distances in a batch."""
    chosen = np.linspace(0, len(batch.lengths) - 1, count).astype(int)
    offsets, pen, lengths = batch
    return Movements(offsets[:, chosen], pen[:, chosen], lengths[chosen])


def spread(given: list[Character]) -> float:
    """The standard deviation of the offsets of characters, over both axes."""
    one = movements(given, max(sum(map(len, c)) for c in given), unit=1.0)
    return float(np.std(one.offsets[inside(one)]))


def inside(batch: Movements) -> np.ndarray:
    """`(T, B)`, True before the end of each character."""
    return np.arange(len(batch.pen))[:, None] < batch.lengths


class Batches:
    """Random characters, each a little stretched, sheared and turned; `self(position)`."""

    def __init__(
        self, given: list[Character], size: int, time: int, unit: float, seed: int
    ):
        self._all = movements(given, time, unit)
        self._size, self._seed = size, seed

    def __call__(self, position: int) -> Movements:
        pick = np.random.default_rng((self._seed, position))
        chosen = pick.choice(len(self._all.lengths), self._size, replace=True)
        offsets, pen, lengths = self._all
        maps = np.eye(2) + 0.07 * pick.standard_normal((self._size, 2, 2))
        moved = np.einsum("tbi,bij->tbj", offsets[:, chosen], maps)
        return Movements(moved.astype(np.float32), pen[:, chosen], lengths[chosen])
