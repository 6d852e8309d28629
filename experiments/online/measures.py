"""The rows of the results: what each contender's errors were."""

from typing import Any

import numpy as np

from ..common import Result
from .contenders import Curve


LAST = 0.25
"""The part at the end of the copy task that is measured."""
TITLES = {
    "seattle": "Seattle's temperature",
    "transformer": "a transformer's oil temperature",
}
EXACT = ("GRU, RTRL", "LRU, DiagonalRTRL")


def results(
    curves: dict[str, dict[str, Curve]],
    simple: dict[str, dict[str, list[float]]],
    delay: int,
    ahead: int,
) -> list[Result]:
    """A row for every contender on every stream; those of exact methods are headlines."""
    rows = []
    for name, curve in curves["copy"].items():
        last = int(curve.errors.shape[1] * (1 - LAST))
        task, measure = (
            f"recall the bit {delay} steps ago",
            "bits a symbol, last quarter",
        )
        values = _means(curve.errors[:, last:])
        others = _others(curves["copy"], name, last)
        rows.append(_row(task, name, curve, measure, values, others))
    for stream, errors in simple.items():
        for name, curve in curves[stream].items():
            task, measure = (
                f"{TITLES[stream]}, {ahead} hours ahead",
                "mean absolute error (C)",
            )
            values, others = _means(curve.errors), _others(curves[stream], name, 0)
            others |= {k: float(np.mean(v)) for k, v in errors.items()}
            rows.append(_row(task, name, curve, measure, values, others))
    return rows


def _row(
    task: str, name: str, curve: Curve, measure: str, values: Any, others: dict
) -> Result:
    exact = name in EXACT
    method = name.partition(", ")[2]
    return Result(
        f"{task}, by {method} (stream)",
        curve.cell,
        curve.parameters,
        measure,
        tuple(values),
        curve.seconds,
        goal=f"as low as {_long(others)}" if exact else "",
        baselines=others if exact else {},
        headline=exact,
    )


def _means(errors: np.ndarray) -> list[float]:
    return [float(value) for value in errors.mean(axis=1)]


def _others(curves: dict[str, Curve], name: str, first: int) -> dict[str, float]:
    """The errors of the other methods of the same network, by the name of the method."""
    cell = curves[name].cell
    return {
        other.partition(", ")[2]: float(curve.errors[:, first:].mean())
        for other, curve in curves.items()
        if other != name and curve.cell == cell
    }


def _long(others: dict[str, float]) -> str:
    """The truncated backpropagation of the longest window."""
    found = [name for name in others if name.startswith("TBPTT")]
    return max(found, key=lambda name: int(name.split()[-1]))
