"""Baselines: the nearest neighbours of a digit, and one Gaussian of all offsets."""

import numpy as np
from scipy.stats import multivariate_normal
from sklearn.neighbors import KNeighborsClassifier

from .data import Digits
from .pen import DRAW, Movements, inside


def nearest(digits: Digits, neighbours: int) -> float:
    """The accuracy of k nearest neighbours on the 16 coordinates."""
    flat = lambda points: points.reshape(len(points), -1)
    model = KNeighborsClassifier(neighbours)
    model.fit(flat(digits.train), digits.train_labels)
    return float(model.score(flat(digits.test), digits.test_labels))


def gaussians(seen: Movements, unseen: Movements) -> dict[str, float]:
    """Nats per point of one Gaussian, and of one for each state of the pen."""
    return {
        "Gaussian": gaussian(seen, unseen, by_pen=False),
        "Gaussian by pen": gaussian(seen, unseen, by_pen=True),
    }


def gaussian(seen: Movements, unseen: Movements, *, by_pen: bool) -> float:
    """Nats per point of a Gaussian of the offsets and of the frequencies of the pen.

    With `by_pen`, there is one Gaussian while the pen draws, and one while it is lifted.
    """
    nats = 0.0
    for drawing in (True, False) if by_pen else (None,):
        offsets, pens = _points(seen, drawing)
        fitted = multivariate_normal(offsets.mean(axis=0), np.cov(offsets.T))
        counts = np.bincount(pens, minlength=3) + 1.0
        offsets, pens = _points(unseen, drawing)
        nats -= np.sum(fitted.logpdf(offsets))
        nats -= np.sum(np.log(counts / counts.sum())[pens])
    return float(nats / unseen.lengths.sum())


def _points(batch: Movements, drawing: bool | None) -> tuple[np.ndarray, np.ndarray]:
    """The offsets and the pen after them, of all points or of those reached by drawing."""
    first = np.full_like(batch.pen[:1], DRAW + 1)  # the pen is in the air
    by_drawing = np.concatenate([first, batch.pen[:-1]]) == DRAW
    counted = inside(batch)
    if drawing is not None:
        counted = counted & (by_drawing == drawing)
    return batch.offsets[counted].astype(float), batch.pen[counted]
