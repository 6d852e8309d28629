"""ETTh1: forecasts of seven series by a GRU over segments, with quantiles."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import optax
from sklearn.metrics import mean_absolute_error, mean_squared_error

from ..common import Fitted, Result, Run, count, fit
from ..common.ett import Ett
from . import baselines
from .segments import SegmentGRU, Windows, make_forecasts, make_loss, pinball
from .study import Study


if TYPE_CHECKING:
    from .train import Config


ERRORS = {"MSE": mean_squared_error, "MAE": mean_absolute_error}
GOALS = {"MSE": "at most 0.360", "MAE": "at most 0.392"}
SEGRNN = {"MSE": 0.351, "MAE": 0.392}
"""SegRNN on the same 96 hours, with look-back 720 (Lin et al. 2023, arXiv:2308.11200)."""


def study(config: "Config", run: Run, data: Ett) -> Study:
    """Trains one model for each seed, and measures all windows of the test part."""
    model = SegmentGRU(
        config.segment, config.horizons[-1], data.values.shape[1], config.units,
        config.quantiles, config.dropout,
    )  # fmt: skip
    fitted = [_train(config, run, model, data, seed) for seed in range(config.seeds)]
    # the windows of the shortest horizon: those of a longer one are the first of them
    test = _windows(config, data, 2, config.horizons[0])
    forecasts = [make_forecasts(model, test)(f.params) for f in fitted]
    simple = baselines.hourly(data, test, config.horizons[-1], config.linear_back)
    rows, truths = [], {}
    for horizon in config.horizons:
        truth = truths[horizon] = _truth(config, data, horizon)
        size = count(fitted[0].params), sum(f.seconds for f in fitted)
        rows += _rows(config, horizon, truth, forecasts, simple, size)
    truth = truths[config.horizons[-1]]
    figure = {
        "past": test.at(np.arange(len(test)))[0].reshape(len(test), -1, test.back),
        "truth": truth,
        "forecast": forecasts[0],
        "quantiles": config.quantiles,
        "below": _below(forecasts, truth),
        "curves": _curves(config, forecasts, simple, truth),
    }
    coverage = dict(zip(map(str, config.quantiles), figure["below"], strict=True))
    return Study(
        tuple(rows), {"ETTh1: observations below a quantile": coverage}, figure
    )


def _windows(config: "Config", data: Ett, part: int, ahead: int) -> Windows:
    begin, end = data.parts[part : part + 2]
    return Windows(data.values, begin, end, config.look_back, ahead)


def _train(
    config: "Config", run: Run, model: SegmentGRU, data: Ett, seed: int
) -> Fitted:
    windows = [_windows(config, data, part, model.ahead) for part in (0, 1)]
    validation = make_forecasts(model, windows[1])
    truth = _truth(config, data, model.ahead, part=1)

    def evaluate(params):
        return {
            "validation": float(pinball(model.quantiles, validation(params), truth))
        }

    per_epoch = len(windows[0]) // config.batch
    updates = config.epochs * per_epoch
    schedule = optax.cosine_decay_schedule(config.learning_rate, updates)
    return fit(
        run,
        f"hours/seed-{seed}",
        model.init(jax.random.key(seed)),
        make_loss(model),
        windows[0].shuffled(config.batch, seed),
        optax.adamw(schedule, weight_decay=1e-4),
        updates=updates,
        seed=seed,
        max_norm=1.0,
        evaluate=evaluate,
        evaluate_every=per_epoch,
        choose="validation",
    )


def _truth(config: "Config", data: Ett, horizon: int, part: int = 2) -> np.ndarray:
    """The values that all windows of a part have to forecast, `(windows, channels, hours)`."""
    windows = _windows(config, data, part, horizon)
    _, _, future = windows.at(np.arange(len(windows)))
    return future.reshape(len(windows), -1, horizon)


def _rows(
    config: "Config",
    horizon: int,
    truth: np.ndarray,
    forecasts: list[np.ndarray],
    simple: dict[str, np.ndarray],
    size: tuple[int, float],
) -> list[Result]:
    """Both errors, averaged over the windows, the series and the hours of a horizon."""
    last = horizon == config.horizons[-1]
    middle = len(config.quantiles) // 2
    count, hours = len(truth), slice(horizon)
    error = lambda how, forecast: float(
        ERRORS[how](truth.ravel(), forecast[:count, :, hours].ravel())
    )
    return [
        Result(
            f"load, {horizon} hours ahead (many-to-many)",
            "GRU",
            size[0],
            how,
            tuple(error(how, forecast[..., middle]) for forecast in forecasts),
            size[1],
            goal=GOALS[how] if horizon == 96 else "",
            baselines={name: error(how, forecast) for name, forecast in simple.items()},
            published={"Lin et al. 2023": SEGRNN[how]} if horizon == 96 else {},
            headline=last,
        )
        for how in ERRORS
    ]


def _below(forecasts: list[np.ndarray], truth: np.ndarray) -> list[float]:
    """For each quantile, the fraction of observations below it; the mean over seeds."""
    below = [
        (truth[..., None] < f[: len(truth)]).mean(axis=(0, 1, 2)) for f in forecasts
    ]
    return [round(float(fraction), 4) for fraction in np.mean(below, axis=0)]


def _curves(
    config: "Config", forecasts: list[np.ndarray], simple: dict[str, Any], truth: Any
) -> dict[str, np.ndarray]:
    """The mean squared error at each hour ahead, by method."""
    middle = len(config.quantiles) // 2
    all_of = {"GRU": forecasts[0][..., middle], **simple}
    return {
        name: np.mean((f[: len(truth)] - truth) ** 2, axis=(0, 1))
        for name, f in all_of.items()
    }
