"""Seattle: the maximum temperature of tomorrow, and whether it will rain."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit
from sklearn.metrics import brier_score_loss, mean_absolute_error

from ..common import Result, Run, count
from . import baselines, daily
from .data import Weather
from .study import Study


if TYPE_CHECKING:
    from .train import Config


def study(config: "Config", run: Run, data: Weather) -> Study:
    """Trains one model for each seed; all measures are of the last year."""
    normal, anomaly, scale, rain = _targets(data)
    # index t: the inputs of day t, and targets of day t + 1
    train, validation = data.train - 1, data.validation - 1
    inputs = _inputs(data, anomaly / scale)
    targets = np.stack((anomaly[1:] / scale, rain[1:]), axis=1).astype(np.float32)
    days = daily.Days(inputs[:-1], targets, train, validation)
    model = daily.make_model(days, config.daily_units, config.daily_dropout)
    fitted = [
        daily.train(
            run, f"weather/seed-{seed}", model, days, daily.weather_loss,
            updates=config.daily_updates, length=config.daily_length,
            learning_rate=config.daily_learning_rate, seed=seed,
        )
        for seed in range(config.seeds)
    ]  # fmt: skip
    outputs = daily.make_outputs(model, days)
    ys = [outputs(f.params)[validation:] for f in fitted]
    warmth = [y[:, 0] * scale + normal[data.validation :] for y in ys]
    chances = [expit(y[:, 1]) for y in ys]
    truth = data.values[data.validation :, 1], rain[data.validation :]
    size = count(fitted[0].params), sum(f.seconds for f in fitted)
    simple = _simple_warmth(data, normal, anomaly), _simple_rain(data, days, rain)
    rows = (
        _row(
            "temperature tomorrow", "mean absolute error (C)", mean_absolute_error,
            truth[0], warmth, simple[0], size,
        ),
        _row(
            "rain tomorrow", "Brier score", brier_score_loss,
            truth[1], chances, simple[1], size,
        ),
    )  # fmt: skip
    figure = {"truth": truth, "GRU": (warmth[0], chances[0]), "rows": rows}
    return Study(rows, {}, figure)


def _targets(data: Weather) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """The seasonal mean of the maximum, what is left, its deviation, and rain (0 or 1)."""
    warmth = data.values[:, 1]
    normal = baselines.climatology(data.season, warmth, data.train)
    anomaly = warmth - normal
    rain = (data.values[:, 0] > 0).astype(np.float64)
    return normal, anomaly, float(anomaly[: data.train].std()), rain


def _inputs(data: Weather, anomaly: np.ndarray) -> np.ndarray:
    """One row a day: anomaly, rain, minimum, wind (scaled), rain or none, and season."""
    rain, _, minimum, wind = data.values.T
    minimum = minimum - baselines.climatology(data.season, minimum, data.train)
    rows = np.stack((anomaly, np.log1p(rain), minimum, wind), axis=1)
    past = rows[: data.train]
    scaled = (rows - past.mean(axis=0)) / past.std(axis=0)
    wet = (rain > 0)[:, None]
    return np.concatenate((scaled, wet, data.season), axis=1).astype(np.float32)


def _simple_warmth(
    data: Weather, normal: np.ndarray, anomaly: np.ndarray
) -> dict[str, np.ndarray]:
    test = slice(data.validation, None)
    ahead = baselines.autoregression(anomaly, data.train)[:-1]  # at t, for t + 1
    return {
        "AR": normal[test] + ahead[data.validation - 1 :],
        "persistence": data.values[data.validation - 1 : -1, 1],
        "climatology": normal[test],
    }


def _simple_rain(
    data: Weather, days: daily.Days, rain: np.ndarray
) -> dict[str, np.ndarray]:
    """Logistic regressions: on all inputs of today, on rain today, on the season alone."""
    inputs = {
        "logistic regression": days.inputs,
        "persistence": rain[:-1, None],
        "climatology": data.season[1:],
    }
    return {
        name: baselines.rain_probability(xs, rain[1:], days.train)[days.validation :]
        for name, xs in inputs.items()
    }


def _row(task, measure, error, truth, forecasts, simple, size) -> Result:
    return Result(
        f"{task} (many-to-many)",
        "GRU",
        size[0],
        measure,
        tuple(float(error(truth, forecast)) for forecast in forecasts),
        size[1],
        baselines={name: float(error(truth, f)) for name, f in simple.items()},
    )
