"""Stocks and currencies: the return of tomorrow, and whether any of it can be forecast."""

from typing import TYPE_CHECKING, Any

import numpy as np
import statsmodels.api as sm

from jaxrnn import training

from ..common import Result, Run, count
from . import baselines, daily
from .study import Study


if TYPE_CHECKING:
    from .train import Config


MEASURES = ("squared error / that of no change", "days with the right sign")


def study(config: "Config", run: Run, series: dict[str, np.ndarray]) -> Study:
    """Trains one model for each market and seed; the last fifth of the days is the test."""
    rows: list[Result] = []
    intervals: dict[str, Any] = {}
    for name, values in series.items():
        days = _days(values)
        model = daily.make_model(days, config.daily_units, config.daily_dropout)
        fitted = [
            daily.train(
                run, f"returns/{name.replace(' ', '-')}/seed-{seed}", model, days,
                training.squared_error, updates=config.daily_updates,
                length=config.daily_length,
                learning_rate=config.daily_learning_rate, seed=seed,
            )
            for seed in range(config.seeds)
        ]  # fmt: skip
        outputs = daily.make_outputs(model, days)
        truth = days.targets[days.validation :]
        forecasts = [outputs(f.params)[days.validation :] for f in fitted]
        simple = _autoregressions(days)
        size = count(fitted[0].params), sum(f.seconds for f in fitted)
        rows += _rows(name, forecasts, simple, truth, size)
        for method, forecast in (("GRU", np.mean(forecasts, axis=0)), ("AR", simple)):
            intervals[f"{name}, {method}"] = {
                measure: [round(v, 4) for v in interval(daily_measure)]
                for measure, daily_measure in by_day(forecast, truth).items()
            }
    facts = {"returns: mean and 95 % confidence interval": intervals}
    return Study(tuple(rows), facts, intervals)


def _days(values: np.ndarray) -> daily.Days:
    """Returns and their absolute values as inputs, the returns of the next day as targets."""
    train, validation = int(0.6 * len(values)), int(0.8 * len(values))
    scaled = (values / values[:train].std(axis=0)).astype(np.float32)
    inputs = np.concatenate((scaled, np.abs(scaled)), axis=1)
    return daily.Days(inputs[:-1], scaled[1:], train - 1, validation - 1)


def _autoregressions(days: daily.Days) -> np.ndarray:
    """The forecasts of the test days by an AR model for each series."""
    columns = days.inputs[:, : days.targets.shape[1]].T.astype(np.float64)
    forecasts = [baselines.autoregression(c, days.train) for c in columns]
    return np.stack(forecasts, axis=1)[days.validation :]


def by_day(forecast: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Both measures of each day; their means are the measures of the whole test.

    The first is 1 + (e^2 - r^2) / mean(r^2), of error e and return r: its mean is the ratio of
    the squared errors, and its variance is that of their difference. The sign counts on days
    with a return. Series of the same day are averaged.
    """
    difference = np.mean((forecast - truth) ** 2 - truth**2, axis=1)
    moved = truth != 0
    right = np.sum((np.sign(forecast) == np.sign(truth)) & moved, axis=1)
    some = moved.any(axis=1)
    days = 1 + difference / np.mean(truth**2), right[some] / moved.sum(axis=1)[some]
    return dict(zip(MEASURES, days, strict=True))


def interval(values: np.ndarray, lags: int = 10) -> tuple[float, float, float]:
    """The mean and its 95 % confidence interval, for values that are correlated in time.

    The variance is that of Newey & West 1987, doi:10.2307/1913610.
    """
    ones = np.ones(len(values))
    fitted = sm.OLS(values, ones).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    low, high = fitted.conf_int()[0]
    return float(fitted.params[0]), float(low), float(high)


def _rows(name, forecasts, simple, truth, size) -> list[Result]:
    measured = [by_day(forecast, truth) for forecast in forecasts]
    others = {"AR": by_day(simple, truth), "always up": by_day(1 + 0 * truth, truth)}
    ratio, sign = MEASURES
    baselines = {
        ratio: {"AR": float(others["AR"][ratio].mean()), "no change": 1.0},
        sign: {name: float(other[sign].mean()) for name, other in others.items()},
    }
    return [
        Result(
            f"{name}, return tomorrow (many-to-many)",
            "GRU",
            size[0],
            measure,
            tuple(float(m[measure].mean()) for m in measured),
            size[1],
            baselines=baselines[measure],
        )
        for measure in MEASURES
    ]
