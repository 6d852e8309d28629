"""How well scores and alarms find the planted faults."""

import numpy as np
from sklearn.metrics import average_precision_score

from ..common import Result
from .faults import KINDS, Stream


SCORES = ("next hour", "from the other sensors")
"""The two scores of the GRU."""


def average_precision(score: np.ndarray, stream: Stream, kind: int | None = None):
    """The area under the precision-recall curve; of one kind, without hours of the others."""
    counted = np.full(len(score), True)
    if kind is not None:
        counted = (stream.kind < 0) | (stream.kind == kind)
    return float(average_precision_score(stream.kind[counted] >= 0, score[counted]))


def found(stream: Stream, alarm: np.ndarray) -> dict[str, float]:
    """The fraction of faults of each kind with an alarm, and false alarms for each week."""
    caught = {
        name: [
            alarm[stream.fault == f].any()
            for f in np.unique(stream.fault[stream.kind == k])
        ]
        for k, name in enumerate(KINDS)
    }
    rates = {name: round(float(np.mean(c)), 3) for name, c in caught.items()}
    free = stream.kind < 0
    return {**rates, "false alarms a week": round(float(alarm[free].mean()) * 168, 2)}


def results(scores, simple, stream, parameters, seconds) -> list[Result]:
    """Both scores of the GRU over all faults, and the second for each kind."""

    def row(task, values, kind=None):
        precision = lambda score: average_precision(score, stream, kind)
        return Result(
            task,
            "GRU",
            parameters,
            "average precision",
            tuple(precision(v) for v in values),
            seconds,
            goal="" if kind is not None else "above the baselines",
            baselines={name: precision(score) for name, score in simple.items()},
            headline=kind is None,
        )

    rows = [row(f"faults, {name} (streaming)", v) for name, v in scores.items()]
    second = scores[SCORES[1]]
    return rows + [
        row(f"{kind}, {SCORES[1]}", second, k) for k, kind in enumerate(KINDS)
    ]
