"""Simple forecasts: the last value, the last season, linear and autoregressive models."""

from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from statsmodels.tsa.ar_model import AutoReg, ar_select_order

from ..common.ett import Ett
from .segments import Windows


def hourly(
    data: Ett, test: Windows, ahead: int, back: int, season: int = 24
) -> dict[str, np.ndarray]:
    """Forecasts for the windows of a test, `(windows, channels, ahead)`, by name.

    The linear model is ridge regression from the last `back` hours, their last value removed,
    to the hours ahead, with the same weights for all channels.
    """
    train = Windows(data.values, 0, data.parts[1], back, ahead)
    past, _, future = (x.astype(np.float64) for x in train.at(np.arange(len(train))))
    linear = Ridge(solver="cholesky").fit(past - past[:, -1:], future - past[:, -1:])
    past, _, _ = test.at(np.arange(len(test)))
    past, last = past[:, -back:], past[:, -1:]
    rows = {
        "linear": linear.predict(past - last) + last,
        "seasonal naive": past[:, -season:][:, np.arange(ahead) % season],
        "last value": np.broadcast_to(last, (len(past), ahead)),
    }
    shape = (len(test), -1, ahead)
    return {name: forecast.reshape(shape) for name, forecast in rows.items()}


def climatology(season: np.ndarray, values: np.ndarray, train: int) -> np.ndarray:
    """The seasonal mean of each day, by harmonics of the year fitted to the first days."""
    fitted = LinearRegression().fit(season[:train], values[:train])
    return fitted.predict(season)


def rain_probability(xs: np.ndarray, rain: np.ndarray, train: int) -> np.ndarray:
    """P(rain tomorrow) by logistic regression on `xs` of today; `rain` is tomorrow's."""
    fitted = LogisticRegression(max_iter=1000).fit(xs[:train], rain[:train])
    return fitted.predict_proba(xs)[:, 1]


def autoregression(values: np.ndarray, train: int, max_lag: int = 14) -> np.ndarray:
    """One-step forecasts by an AR model, its order by BIC; at t, the forecast of t + 1.

    The model is fitted to the first `train` values alone.
    """
    order = ar_select_order(values[:train], max_lag, ic="bic").ar_lags or 0
    params = AutoReg(values[:train], order).fit().params
    count = np.max(order)
    one: Any = AutoReg(np.append(values, 0.0), order)  # the last forecast has no target
    forecast = one.predict(params, count, len(values), dynamic=False)
    return np.concatenate((np.zeros(count), np.asarray(forecast)))[1:]
