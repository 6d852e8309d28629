"""Forecasts of a stream by simpler methods, each made before its truth is known."""

import numpy as np
from sklearn.linear_model import SGDRegressor
from statsmodels.regression.recursive_ls import RecursiveLS

from .series import Series


LAGS = 24
"""Hours that the linear models store and read, today's included."""


def weekly_errors(series: Series, ahead: int, week: int) -> dict[str, list[float]]:
    """The mean absolute error of each week by method, in the unit of the series."""
    hours = series.hours(ahead)
    truth = series.values[hours + ahead]
    forecasts = {
        "last value": series.values[hours],
        "same hour yesterday": series.values[hours + ahead - 24],
        "SGD, 24 lags": stochastic_gradient(series, ahead),
        "least squares, 24 lags": recursive_least_squares(series, ahead),
    }
    return {
        name: np.abs(forecast - truth).reshape(-1, week).mean(axis=1).tolist()
        for name, forecast in forecasts.items()
    }


def lagged(series: Series, hours: np.ndarray) -> np.ndarray:
    """The scaled values of the last hours, newest first, `(hours, LAGS)`."""
    return series.scaled[hours[:, None] - np.arange(LAGS)]


def stochastic_gradient(series: Series, ahead: int) -> np.ndarray:
    """A linear model of the change, learned sample by sample with scikit-learn."""
    hours = series.hours(ahead)
    model = SGDRegressor(penalty=None, learning_rate="constant", eta0=1e-3)
    found = []
    for t in hours:
        change = (series.values[t] - series.values[t - ahead]) / series.deviation
        model.partial_fit(lagged(series, np.array([t - ahead])), [change])
        found.append(model.predict(lagged(series, np.array([t])))[0])
    return series.values[hours] + series.deviation * np.array(found)


def recursive_least_squares(series: Series, ahead: int) -> np.ndarray:
    """The least-squares fit to all samples so far, with statsmodels.

    It is a Kalman filter, which keeps a matrix of LAGS^2 numbers. It is a forecast only from
    row `LAGS` on, since fewer samples do not determine the weights.
    """
    hours = series.hours(ahead)
    known = np.concatenate((np.arange(hours[0] - 4 * LAGS, hours[0]), hours))
    change = (series.values[known] - series.values[known - ahead]) / series.deviation
    fitted = RecursiveLS(change, _with_one(lagged(series, known - ahead))).fit()
    weights = fitted.recursive_coefficients.filtered.T[-len(hours) :]
    ahead_of = np.sum(weights * _with_one(lagged(series, hours)), axis=1)
    return series.values[hours] + series.deviation * ahead_of


def _with_one(inputs: np.ndarray) -> np.ndarray:
    return np.concatenate((inputs, np.ones((len(inputs), 1))), axis=1)
