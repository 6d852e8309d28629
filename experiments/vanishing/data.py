"""The adding problem: the sum of the two marked numbers of a sequence.

Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735.
"""

from typing import NamedTuple

import numpy as np


class Sums(NamedTuple):
    """A batch of sequences, time-major, and the sum of the marked numbers of each."""

    xs: np.ndarray  # (T, B, 2): a number from 0 to 1, and whether it is marked
    sums: np.ndarray  # (B, 1)


def draw_sums(steps: int, size: int, rng: np.random.Generator) -> Sums:
    """Sequences with one mark in the first half and one in the second."""
    numbers = rng.random((steps, size), np.float32)
    marks = np.zeros_like(numbers)
    rows, half = np.arange(size), steps // 2
    marks[rng.integers(half, size=size), rows] = 1
    marks[rng.integers(half, steps, size=size), rows] = 1
    sums = np.sum(numbers * marks, axis=0)
    return Sums(np.stack([numbers, marks], axis=-1), sums[:, None])


def constant_error(sums: Sums) -> float:
    """The squared error of the best constant, 1."""
    return float(np.mean((sums.sums - 1) ** 2))
