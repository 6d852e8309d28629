"""The nearest training sequence, by dynamic time warping."""

from collections.abc import Iterable

import numpy as np

from .data import Sequences


def nearest_neighbour(train: Sequences, test: Iterable[np.ndarray]) -> np.ndarray:
    """The speaker of the training sequence with the smallest warping distance."""
    return np.array([train.speakers[distances(row, train).argmin()] for row in test])


def distances(sequence: np.ndarray, others: Sequences) -> np.ndarray:
    """The dynamic time warping distances of one sequence to many, all dimensions together.

        D(i, j) = |x_i - y_j|^2 + min(D(i-1, j-1), D(i-1, j), D(i, j-1)),    D(0, 0) = 0

    Args:
        sequence: x, `(length, d)`.
        others: the sequences y; the recursion runs over all of them at once.

    Returns:
        `(N,)`: D at the ends of both.

    Reference: Sakoe & Chiba 1978, doi:10.1109/TASSP.1978.1163055.
    """
    time, number, _ = others.frames.shape
    before = np.full((time + 1, number), np.inf)
    before[0] = 0
    for x in sequence:
        cost = np.sum((others.frames - x) ** 2, axis=-1)
        row = np.full_like(before, np.inf)
        for j in range(time):
            best = np.minimum(np.minimum(before[j], before[j + 1]), row[j])
            row[j + 1] = cost[j] + best
        before = row
    return before[others.lengths, np.arange(number)]
