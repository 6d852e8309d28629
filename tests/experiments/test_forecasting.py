"""Forecasting, small: load with a daily rhythm, weather with memory, returns without."""

import numpy as np
import pytest

from experiments.common import DataError, ett
from experiments.forecasting import baselines, data
from experiments.forecasting.returns import by_day, interval
from experiments.forecasting.segments import Windows, pinball

from .helpers import small


def write(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_load(folder, hours=640):
    """A daily rhythm whose height changes slowly, and noise."""
    random, hour = np.random.default_rng(0), np.arange(hours)
    height = 2 + np.sin(2 * np.pi * hour[:, None] / 150 + np.arange(7))
    values = height * np.sin(2 * np.pi * hour[:, None] / 24 + np.arange(7))
    values += 0.3 * random.normal(size=values.shape)
    rows = [(f"2016-07-01 {i}", *row.round(4)) for i, row in enumerate(values)]
    return write(folder / "ett/ETTh1.csv", "date," + ",".join(ett.SERIES), rows)


def write_weather(folder, days=1461):
    random = np.random.default_rng(1)
    dates = np.datetime64("2012-01-01") + np.arange(days)
    state = np.zeros(days)
    for day in range(1, days):
        state[day] = 0.9 * state[day - 1] + random.normal()
    warm = 15 - 10 * np.cos(2 * np.pi * np.arange(days) / 365.25) + state
    rain = np.where(state > 1, 0.0, 2.0)
    rows = [
        (str(d).replace("-", "/"), r, round(w, 1), round(w - 8, 1), 3.0 + i % 2, "x")
        for i, (d, r, w) in enumerate(zip(dates, rain, warm, strict=True))
    ]
    header = "date,precipitation,temp_max,temp_min,wind,weather"
    return write(folder / "weather/seattle-weather.csv", header, rows)


def write_finance(folder, days=400):
    random = np.random.default_rng(2)
    index = [(i, r) for i, r in enumerate(0.01 * random.normal(size=days))]
    rates = np.exp(np.cumsum(0.01 * random.normal(size=(days, 5)), axis=0))
    stocks = write(folder / "finance/SP500.csv", '"","r500"', index)
    prices = write(
        folder / "finance/exchange-rates.csv",
        '"","date","day",' + ",".join(data.CURRENCIES),
        [(i, 800102, '"monday"', *row) for i, row in enumerate(rates)],
    )
    return stocks, prices


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("forecasting")
    write_load(root / "data")
    write_weather(root / "data")
    write_finance(root / "data")
    return root


def test_it_learns_what_can_be_learned(folder):
    results, _ = small("forecasting", folder)
    rows = {
        (row["task"].split(" (")[0], row["measure"]): row for row in results["rows"]
    }
    load = rows["load, 24 hours ahead", "MSE"]
    assert load["values"][0] < 0.7 * load["baselines"]["last value"]
    warm = rows["temperature tomorrow", "mean absolute error (C)"]
    assert warm["values"][0] < 0.7 * warm["baselines"]["climatology"]
    rain = rows["rain tomorrow", "Brier score"]
    assert rain["values"][0] < 0.8 * rain["baselines"]["climatology"]
    # chance is inside the interval: these returns are noise
    _, intervals = results["facts"].values()
    for measures in intervals.values():
        ratio, sign = measures.values()
        assert ratio[0] > 0.97
        assert sign[1] < 0.55 and sign[2] > 0.45


def test_the_standard_baselines():
    """Of a series that repeats every 24 hours, all but the last value are exact."""
    values = np.tile(np.arange(24.0)[:, None] * [1, -2], (20, 1)).astype(np.float32)
    series = ett.Ett(values, (0, 240, 360, 480))
    test = Windows(values, 360, 480, 48, 24)
    forecasts = baselines.hourly(series, test, 24, 48)
    truth = test.at(np.arange(len(test)))[2].reshape(len(test), 2, 24)
    np.testing.assert_array_equal(forecasts["seasonal naive"], truth)
    assert np.mean((forecasts["linear"] - truth) ** 2) < 0.01 * truth.var()
    assert np.mean((forecasts["last value"] - truth) ** 2) > 0.5 * truth.var()


def test_windows_are_all_there_and_end_where_the_part_ends():
    values = np.arange(40.0)[:, None] * [1, 100]
    windows = Windows(values, 20, 40, 6, 3)
    assert len(windows) == 20 - 3 + 1
    past, channel, future = windows.at(np.array([0, 17]))
    assert channel.tolist() == [0, 1, 0, 1]
    assert future[0].tolist() == [20, 21, 22] and past[0, -1] == 19
    assert future[3].tolist() == [3700, 3800, 3900]
    assert Windows(values, 0, 20, 6, 3).starts[0] == 6


def test_an_autoregression_is_found_and_looks_only_back():
    random, values = np.random.default_rng(0), np.zeros(600)
    for t in range(1, 600):
        values[t] = 0.8 * values[t - 1] + random.normal()
    forecast = baselines.autoregression(values, 400)
    np.testing.assert_allclose(forecast[400:], 0.8 * values[400:], atol=0.4)
    later = baselines.autoregression(np.append(values[:500], 99.0), 400)
    np.testing.assert_allclose(later[400:500], forecast[400:500], rtol=1e-9)


def test_measures_of_returns_and_their_interval():
    truth = np.array([[1.0, -1.0], [2.0, 0.0]])
    days = by_day(np.array([[1.0, 1.0], [1.0, 5.0]]), truth)
    ratio, sign = (d.mean() for d in days.values())
    assert ratio == pytest.approx((0 + 4 + 1 + 25) / 6)
    assert sign == pytest.approx((0.5 + 1) / 2)
    mean, low, high = interval(np.random.default_rng(0).normal(size=5000), lags=3)
    assert low < mean < high and high - low == pytest.approx(
        2 * 1.96 / 5000**0.5, rel=0.1
    )


def test_the_pinball_loss_is_that_of_scikit_learn():
    from sklearn.metrics import mean_pinball_loss

    random = np.random.default_rng(0)
    target = random.normal(size=(5, 3)).astype(np.float32)
    forecast = random.normal(size=(5, 3, 2)).astype(np.float32)
    want = np.mean(
        [
            mean_pinball_loss(target.ravel(), forecast[..., i].ravel(), alpha=q)
            for i, q in enumerate((0.1, 0.7))
        ]
    )
    got = pinball((0.1, 0.7), forecast, target)
    assert float(got) == pytest.approx(want, rel=1e-5)


def test_broken_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="zhouhaoyi"):
        ett.load(tmp_path)
    write_load(tmp_path, hours=100)
    with pytest.raises(DataError, match="100 rows, but at least 14400"):
        ett.load(tmp_path)
    file = write_load(tmp_path)
    text = file.read_text()
    for broken, message in (
        (text.replace("MUFL", "other"), "columns MUFL are missing"),
        (text[:-20], "fields, but the header has 8"),
        (text.replace("2016-07-01 5,", "2016-07-01 5,x"), "not a number"),
        (text.replace("2016-07-01 5,", "2016-07-01 5,inf,"), "line 7: 9 fields"),
        (text.splitlines()[0], "no line after the header"),
        ("", "are missing"),
    ):
        file.write_text(broken)
        with pytest.raises(DataError, match=message):
            ett.load(tmp_path, (400, 120, 120))


def test_a_day_that_is_missing_is_noticed(tmp_path):
    file = write_weather(tmp_path)
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:50] + lines[51:]))
    with pytest.raises(DataError, match="without a gap"):
        data.weather(tmp_path)
    file.write_text("\n".join(lines).replace("2012/03/04", "March 4"))
    with pytest.raises(DataError, match="YYYY/MM/DD"):
        data.weather(tmp_path)
    _, prices = write_finance(tmp_path)
    prices.write_text(prices.read_text().replace('"monday",', '"monday",-', 1))
    with pytest.raises(DataError, match="not above 0"):
        data.returns(tmp_path)
