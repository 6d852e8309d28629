"""Days: the weather of Seattle, and returns of stocks and currencies."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common import DataError, find, numbers, read_columns


WEATHER = "the Python package vega-datasets 0.9 (seattle-weather.csv; BSD-3-Clause)"
FINANCE = "the Python package pydataset 0.2 (MASS/SP500 and Ecdat/Garch; GPL)"
CURRENCIES = {
    "dm": "mark", "bp": "pound", "cd": "Canadian dollar", "dy": "yen", "sf": "franc",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Weather:
    """One row a day: `values` are precipitation (mm), maximum, minimum (C) and wind (m/s).

    `season` has two harmonics of the year; the days before `train` are for training, those
    before `validation` for validation, the rest is the test.
    """

    values: np.ndarray  # (days, 4)
    season: np.ndarray  # (days, 4)
    train: int
    validation: int


def weather(data_dir: Path) -> Weather:
    """Seattle; the last year is the test, the year before it validation."""
    path = find(data_dir, "weather/seattle-weather.csv", WEATHER)
    names = ("precipitation", "temp_max", "temp_min", "wind")
    columns = read_columns(path, ("date", *names))
    values = numbers(path, {name: columns[name] for name in names}, rows=3 * 365)
    try:
        days = np.array([d.replace("/", "-") for d in columns["date"]], "datetime64[D]")
    except ValueError as error:
        raise DataError(f"{path}: dates must read YYYY/MM/DD: {error}.") from error
    if (np.diff(days) != np.timedelta64(1, "D")).any():
        raise DataError(f"{path}: the days must follow one another without a gap.")
    angle = 2 * np.pi * (days - days[0]).astype(int)[:, None] / 365.25 * [1, 2]
    season = np.concatenate((np.sin(angle), np.cos(angle)), axis=1)
    return Weather(values, season, len(days) - 730, len(days) - 365)


def returns(data_dir: Path) -> dict[str, np.ndarray]:
    """Daily log returns in percent: `(days, series)` for stocks, and for currencies."""
    stocks = find(data_dir, "finance/SP500.csv", FINANCE)
    rates = find(data_dir, "finance/exchange-rates.csv", FINANCE)
    index = numbers(stocks, read_columns(stocks, ("r500",)), rows=200)
    prices = numbers(rates, read_columns(rates, tuple(CURRENCIES)), rows=200)
    if (prices <= 0).any():
        raise DataError(f"{rates}: an exchange rate is not above 0.")
    return {
        "S&P 500": 100 * index,
        "exchange rates": 100 * np.diff(np.log(prices), axis=0),
    }
