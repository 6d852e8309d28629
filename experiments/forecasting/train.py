"""Forecasts of load (a day to four days), weather (tomorrow) and returns (tomorrow)."""

from dataclasses import dataclass

from ..common import Options, Results, Run, ett
from . import data, hours, returns, weather
from .picture import draw


@dataclass(frozen=True)
class Config(Options):
    """Forecast electricity load, weather and returns, and compare with simple methods."""

    hours: tuple[int, ...] = ett.HOURS
    """Hours of ETTh1 for training, validation and test."""
    look_back: int = 720
    """Hours that the GRU over segments reads."""
    segment: int = 48
    """Hours of a segment: one step of that GRU."""
    horizons: tuple[int, ...] = (24, 48, 96)
    """Numbers of hours ahead over which the error is averaged; the last is forecast."""
    quantiles: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.9)
    """Quantiles that are forecast; the middle one is the forecast that is measured."""
    units: int = 192
    """Units of the GRU over segments."""
    dropout: float = 0.2
    """Fraction of features dropped before the head of the GRU over segments."""
    batch: int = 64
    """Windows of a batch, each of seven series."""
    epochs: int = 5
    """Passes over all windows of the training part."""
    learning_rate: float = 2e-3
    """Initial learning rate of AdamW, which decays to zero."""
    linear_back: int = 336
    """Hours that the linear baseline reads."""

    daily_units: int = 16
    """Units of the GRUs that read one row a day."""
    daily_dropout: float = 0.3
    """Fraction of features dropped after those GRUs."""
    daily_updates: int = 400
    """Updates of the parameters of those GRUs."""
    daily_length: int = 60
    """Days of a window, in training."""
    daily_learning_rate: float = 3e-3
    """Initial learning rate of RMSprop, which decays to zero."""
    seeds: int = 3
    """Number of trainings of each model."""


SMALL = Config(
    hours=(400, 120, 120), look_back=48, segment=12, horizons=(12, 24), units=16,
    quantiles=(0.1, 0.5, 0.9), dropout=0.0, batch=16, epochs=5, learning_rate=1e-2,
    linear_back=48, daily_units=4, daily_dropout=0.0, daily_updates=60,
    daily_length=20, daily_learning_rate=1e-2, seeds=1,
)  # fmt: skip


def main(config: Config, run: Run) -> Results:
    """Trains the models of the three tasks and compares each with its baselines."""
    series = ett.load(config.data_dir, config.hours)
    days, markets = data.weather(config.data_dir), data.returns(config.data_dir)
    load = hours.study(config, run, series)
    sky = weather.study(config, run, days)
    money = returns.study(config, run, markets)
    draw(run.picture, load.figure, sky.figure, money.figure)
    parts = (load, sky, money)
    facts = {key: value for part in parts for key, value in part.facts.items()}
    return Results(tuple(row for part in parts for row in part.rows), facts)
