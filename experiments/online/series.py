"""Hourly temperatures as streams: Seattle's climate, and the oil of a transformer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.signal import lfilter

from ..common import find, numbers, read_columns
from ..common.ett import SOURCE as ETT_SOURCE
from .learner import Samples


WEEK = 168
"""Hours of an update of the progress bar, and of a point of the picture."""
FIRST = 2 * WEEK
"""Hours at the start that only set the scale; they are neither learned nor counted."""
SOURCE = "vega-datasets 0.9 (seattle-temps.csv, BSD-3; NOAA's hourly normals)"


@dataclass(frozen=True, eq=False)
class Series:
    """One temperature by the hour, in degrees Celsius.

    Attributes:
        name: its name, for readers and for folders.
        values: `(hours,)`.
    """

    name: str
    values: np.ndarray

    @property
    def deviation(self) -> float:
        """The standard deviation of the first hours."""
        return float(self.values[:FIRST].std())

    @property
    def scaled(self) -> np.ndarray:
        """The values less their mean so far, which forgets the seasons, in deviations.

        The mean is an exponential one over about two weeks: mean += (value - mean) / 336.
        """
        mean = lfilter([1 / FIRST], [1, 1 / FIRST - 1], self.values - self.values[0])
        return (self.values - self.values[0] - mean) / self.deviation

    def hours(self, ahead: int) -> np.ndarray:
        """The hours at which a forecast is made: whole weeks, each with a known truth."""
        weeks = (len(self.values) - FIRST - ahead) // WEEK
        return FIRST + np.arange(weeks * WEEK)


def load(data_dir: Path, weeks: int | None) -> list[Series]:
    """Both series, or their first weeks.

    Raises:
        DataError: if a file is missing, broken or too short.
    """
    hours = None if weeks is None else FIRST + weeks * WEEK + 24
    files = (
        ("seattle", "weather/seattle-temps.csv", "temp", SOURCE),
        ("transformer", "ett/ETTh1.csv", "OT", ETT_SOURCE),
    )
    found = []
    for name, file, column, source in files:
        path = find(data_dir, file, source)
        least = hours or FIRST + WEEK + 24
        values = numbers(path, read_columns(path, [column]), least)[:hours, 0]
        if column == "temp":  # in degrees Fahrenheit
            values = (values - 32) / 1.8
        found.append(Series(name, values))
    return found


def batches(series: Series, ahead: int) -> Callable[[int], Samples]:
    """`batch(week)`: at hour t, learn the change from t - ahead to t, then forecast from t.

    Inputs are scaled, and all targets are changes from the last value that was read.
    """
    column = lambda values: values.astype(np.float32)[:, None, None]
    inputs, values = column(series.scaled), column(series.values / series.deviation)
    hours = series.hours(ahead)

    def batch(week: int) -> Samples:
        t = hours[week * WEEK : (week + 1) * WEEK]
        past, now, future = (values[t + shift] for shift in (-ahead, 0, ahead))
        return Samples(inputs[t - ahead], now - past, inputs[t], future - now)

    return batch


def step_loss(y: jax.Array, target: jax.Array) -> jax.Array:
    """Half the squared error."""
    return 0.5 * jnp.sum(jnp.square(y - target))
