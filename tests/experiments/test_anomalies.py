"""Anomalies, small: seven sensors that depend on one another, with planted faults."""

from functools import partial

import jax
import numpy as np
import pytest

import jaxrnn
from experiments.anomalies import baselines, model
from experiments.anomalies.faults import KINDS, plant
from experiments.anomalies.measures import average_precision, found
from experiments.common import DataError, ett

from .helpers import losses, small, values


def write_sensors(folder, hours=1400):
    """Two hidden rhythms, seen by seven sensors that mix them, with noise."""
    random, hour = np.random.default_rng(0), np.arange(hours)[:, None]
    hidden = np.concatenate((np.sin(hour / 4), np.sin(hour / 17)), axis=1)
    seen = hidden @ random.normal(size=(2, 7)) + 0.1 * random.normal(size=(hours, 7))
    path = folder / "ett/ETTh1.csv"
    path.parent.mkdir(parents=True)
    rows = [f"2016-07-01 {i}," + ",".join(map(str, r)) for i, r in enumerate(seen)]
    path.write_text("\n".join(["date," + ",".join(ett.SERIES), *rows]))


def test_it_finds_more_than_the_statistics_of_each_sensor(tmp_path):
    write_sensors(tmp_path / "data")
    results, folder = small("anomalies", tmp_path)
    trained = losses(folder / "gru/seed-0")
    assert np.mean(trained[-10:]) < trained[0] - 0.5
    row = next(r for r in results["rows"] if "other sensors" in r["task"])
    assert row["values"][0] > row["baselines"]["rolling z-score"] + 0.1
    assert len(values(results, "average precision")) == 2 + len(KINDS)


@pytest.fixture(scope="module")
def gru():
    layer = model.make_model(3, 5, 0.0)
    return layer, layer.init(jax.random.key(0))


def test_the_stream_equals_the_whole_sequence(gru):
    """Sample by sample: the errors of one pass over the sequence for each hidden channel."""
    layer, params = gru
    xs = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    got = model.follow(layer, params, 0.5, xs)
    want = np.zeros((12, 2, 3))
    for channel in (None, 0, 1, 2):
        hidden = np.arange(3) == channel
        _, ys = jaxrnn.unroll_one(
            layer, params, model.hide(xs, np.tile(hidden, (12, 1)))
        )
        (mean, spread), (now, spread_now) = model.expected(ys)
        if channel is None:
            want[0, 0] = np.abs(xs[0])
            want[1:, 0] = np.abs(xs[1:] - mean[:-1]) * np.exp(-0.5 * spread[:-1])
        else:
            error = np.abs(xs - now) * np.exp(-0.5 * spread_now)
            want[:, 1, channel] = error[:, channel]
    average = np.zeros((2, 3))
    for t in range(12):
        average = 0.5 * average + 0.5 * want[t]
        np.testing.assert_allclose(got[t], average, rtol=2e-5, atol=1e-6)


def test_a_hidden_channel_changes_nothing_in_its_estimate(gru):
    layer, params = gru
    xs = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    other = xs.copy()
    other[:, 1] += 5
    hidden = np.tile(np.arange(3) == 1, (12, 1))
    run = partial(jaxrnn.unroll_one, layer, params)
    one, two = (run(model.hide(x, hidden))[1] for x in (xs, other))
    np.testing.assert_array_equal(one, two)


def test_faults_are_where_they_are_said_to_be():
    clean = np.random.default_rng(0).normal(size=(1600, 7)).astype(np.float32)
    stream = plant(clean, 4, seed=0)
    changed = (stream.values != clean).any(axis=1)
    assert not changed[stream.kind < 0].any()
    assert changed[stream.kind >= 0].mean() > 0.9  # a drift begins at zero
    assert len(stream.channel) == 16
    for k, kind in enumerate(KINDS):
        numbers = np.unique(stream.fault[stream.kind == k])
        assert len(numbers) == 4
        hours = np.bincount(stream.fault[stream.kind == k])[numbers]
        assert (hours <= 3).all() if kind == "spike" else (hours >= 12).all()
    again = plant(clean, 4, seed=0)
    np.testing.assert_array_equal(again.values, stream.values)


def test_measures_of_scores_and_alarms():
    clean = np.zeros((400, 7), np.float32)
    stream = plant(clean + np.arange(7, dtype=np.float32), 2, seed=0)
    perfect = (stream.kind >= 0).astype(float)
    assert average_precision(perfect, stream) == 1
    assert average_precision(-perfect, stream) < 0.5
    assert average_precision(perfect, stream, KINDS.index("stuck")) == 1
    rates = found(stream, perfect > 0)
    assert rates == dict.fromkeys(KINDS, 1.0) | {"false alarms a week": 0.0}
    assert found(stream, perfect < 1)["false alarms a week"] == 168


def test_the_baselines_see_what_they_should():
    random = np.random.default_rng(0)
    values = random.normal(size=(300, 4))
    values[:, 3] = values[:, 0] + values[:, 1]
    broken = values.copy()
    broken[200, 3] += 6
    assert baselines.rolling_z(broken, 24).argmax() == 200
    assert (
        baselines.regression(values, values + 1e-3 * values**2, broken).argmax() == 200
    )
    np.testing.assert_array_equal(
        baselines.lagged(values, (0, 2))[5], np.concatenate((values[5], values[3]))
    )
    later = broken.copy()
    later[250:] = 9
    np.testing.assert_allclose(
        baselines.rolling_z(later, 24)[:250], baselines.rolling_z(broken, 24)[:250]
    )


def test_a_short_file_is_refused(tmp_path):
    write_sensors(tmp_path, hours=100)
    with pytest.raises(DataError, match="100 rows, but at least"):
        ett.load(tmp_path)
