"""Scores of every hour by methods without memory or training; larger means more unusual."""

from collections.abc import Iterable
from functools import partial

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import Ridge

from .faults import Stream
from .measures import average_precision
from .model import unusual


def rolling_z(values: np.ndarray, window: int) -> np.ndarray:
    """The largest |x - mean| / deviation of a channel, over the hours before this one.

    The first hours of the stream serve as the hours before it.
    """
    past = np.concatenate((values[:window], values[:-1]))
    views = np.lib.stride_tricks.sliding_window_view(past, window, axis=0)
    distance = np.abs(values - views.mean(axis=-1))
    return np.max(distance / (views.std(axis=-1) + 1e-3), axis=1)


def forest_score(
    train: np.ndarray, values: np.ndarray, lags: Iterable[int]
) -> np.ndarray:
    """The score of an isolation forest over this hour and earlier ones, `lags` hours ago."""
    fitted = IsolationForest(n_estimators=200, random_state=0).fit(lagged(train, lags))
    return -fitted.score_samples(lagged(values, lags))


def lagged(values: np.ndarray, lags: Iterable[int]) -> np.ndarray:
    """Each hour and those `lags` before it, side by side; the first hour repeats."""
    hours = np.arange(len(values))
    return np.concatenate([values[np.maximum(hours - lag, 0)] for lag in lags], axis=1)


def regression(train: np.ndarray, clean: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The error of a ridge regression of each channel on the others, scaled by `clean`."""
    errors: tuple[list, list] = ([], [])
    for channel in range(train.shape[1]):
        others = partial(np.delete, obj=channel, axis=1)
        fitted = Ridge().fit(others(train), train[:, channel])
        for found, part in zip(errors, (clean, values), strict=True):
            found.append(np.abs(fitted.predict(others(part)) - part[:, channel]))
    return unusual(np.stack(errors[0], axis=1), np.stack(errors[1], axis=1))


def simple_scores(
    train: np.ndarray, clean: np.ndarray, validation: Stream, values: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The scores of the baselines, with the options that are best on the validation part."""
    options = {
        "rolling z-score": {
            f"{window} hours": partial(rolling_z, window=window)
            for window in (24, 48, 168)
        },
        "isolation forest": {
            f"lags {lags}": partial(forest_score, train, lags=lags)
            for lags in ((0,), (0, 1), (0, 1, 24))
        },
    }
    chosen, scores = {}, {}
    for name, several in options.items():
        quality = {
            option: average_precision(score(values=validation.values), validation)
            for option, score in several.items()
        }
        chosen[name] = max(quality, key=lambda option: quality[option])
        scores[name] = several[chosen[name]](values=values)
    scores["regression on the others"] = regression(train, clean, values)
    return scores, chosen
