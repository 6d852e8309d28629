"""The accuracy of the nearest neighbour, and of the network by the frames that it heard."""

from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score

from .baselines import nearest_neighbour
from .data import Sequences


def nearest_accuracy(parts: list[tuple[str, int, Sequences, Sequences]]) -> float:
    """The accuracy of the nearest neighbour; the mean over folds, if there are any."""
    different = parts if parts[0][3] is not parts[-1][3] else parts[:1]
    return float(
        np.mean(
            [
                accuracy_score(test.speakers, nearest_neighbour(known, test.rows()))
                for _, _, known, test in different
            ]
        )
    )


def accuracy_by_frames(scores: Any, params: list[Any], tests: Any) -> np.ndarray:
    """The accuracy when only the first 1 ... T frames are given, `(trainings, T)`."""
    time = tests[0].frames.shape[0]

    def accuracy(params: Any, test: Sequences, frames: int) -> float:
        given = np.minimum(test.lengths, frames)
        guess = np.asarray(scores(params, test.frames, given)).argmax(-1)
        return float(accuracy_score(test.speakers, guess))

    return np.array(
        [
            [accuracy(p, test, n) for n in range(1, time + 1)]
            for p, test in zip(params, tests, strict=True)
        ]
    )
