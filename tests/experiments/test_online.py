"""Learning from streams, small: copied bits, made temperatures, and what is kept and seen."""

import os
import signal

import jax
import numpy as np
import optax
import pytest

import jaxrnn
from experiments.common import DataError, Options, Run
from experiments.online import baselines, copying, learner, series
from experiments.online.contenders import Task, contenders, numbers_kept, train_all
from jaxrnn import training

from .helpers import losses, small


def write_temperatures(folder, hours=series.FIRST + 3 * series.WEEK + 24):
    """Days and nights, with a slow drift and some noise."""
    random, hour = np.random.default_rng(0), np.arange(hours)
    noise = 0.1 * random.normal(size=hours)
    values = 5 * np.sin(2 * np.pi * hour / 24) + np.sin(hour / 50) + noise
    for file, column in (
        ("weather/seattle-temps.csv", "temp"),
        ("ett/ETTh1.csv", "OT"),
    ):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"date,{column}", *(f"2010/01/01,{v}" for v in values)]
        path.write_text("\n".join(lines))


def test_the_exact_methods_remember_what_the_last_step_alone_does_not(tmp_path):
    write_temperatures(tmp_path / "data")
    results, folder = small("online", tmp_path)
    bits = {
        (row["cell"], row["task"].split()[-2]): row["values"][0]
        for row in results["rows"]
        if row["measure"].startswith("bits")
    }
    assert bits["GRU", "RTRL"] < 0.1 and bits["LRU", "DiagonalRTRL"] < 0.1
    assert bits["GRU", "Immediate"] > 0.5
    forecast = next(r for r in results["rows"] if "oil" in r["task"] and r["baselines"])
    assert forecast["values"][0] < forecast["baselines"]["last value"]
    assert len(losses(folder / "seattle/gru-rtrl/seed-0")) == 3  # weeks


def steps(method, batch, count, ahead, layer=None, memory=None, state=None):
    """State and memory after some batches, and the loss of each."""
    layer = layer or jaxrnn.Stack((jaxrnn.GRU(1, 4), jaxrnn.Dense(4, 1)))
    optimizer = optax.sgd(0.05)
    run = learner.make_train_step(layer, method, series.step_loss, optimizer)
    if state is None:
        params = layer.init(jax.random.key(0))
        state = training.train_state(params, optimizer)
        memory = learner.start(layer, method, params, 2, ahead)
    found = []
    for position in range(count):
        state, report = run(state, memory, None, batch(position))
        memory = report.aux
        found.append(float(report.loss))
    return state, memory, found


def test_chunks_of_a_stream_equal_the_whole_stream():
    """The memory has all that the next sample depends on."""
    whole = copying.batches(2, 2, 40, seed=0)(0)
    part = lambda i: jax.tree.map(lambda v: v[i * 10 : i * 10 + 10], whole)
    one, _, _ = steps(jaxrnn.RTRL(), lambda _: whole, 1, False)
    four, _, _ = steps(jaxrnn.RTRL(), part, 4, False)
    jax.tree.map(np.testing.assert_array_equal, one.params, four.params)


def test_an_interrupted_training_ends_as_another_does(tmp_path):
    """Trace, state and optimizer are in the checkpoint."""
    bits = copying.batches(2, 2, 10, seed=0)

    def interrupting(position):
        if position == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return bits(position)

    pair = contenders(4, 3, window=5, short=2)[0]
    task = Task("copy", bits, copying.step_loss, 6, 2, 0.01)
    whole, halves = (Run(name, Options(runs=tmp_path)) for name in ("a", "b"))
    folder = "copy/gru-rtrl/seed-0"
    with jax.numpy_dtype_promotion("standard"):  # Adam needs it
        want = train_all(whole, task, [pair], 1)
        with pytest.raises(KeyboardInterrupt):
            train_all(halves, task._replace(batch=interrupting), [pair], 1)
        assert len(halves.metrics(folder)) == 3
        got = train_all(halves, task, [pair], 1)
    np.testing.assert_array_equal(got[pair.name].errors, want[pair.name].errors)
    assert whole.metrics(folder) == halves.metrics(folder)


def test_no_forecast_depends_on_a_later_value():
    random = np.random.default_rng(0)
    values = random.normal(size=series.FIRST + 3 * series.WEEK + 6)
    later = values.copy()
    second = series.FIRST + 2 * series.WEEK  # the first forecast of the third week
    later[second + 6 :] += 5
    found = []
    for given in (values, later):
        one = series.Series("a", given)
        batch = series.batches(one, 6)
        two = lambda week, batch=batch: jax.tree.map(
            lambda v: np.repeat(v, 2, axis=1), batch(week)
        )
        network = steps(jaxrnn.Immediate(), two, 3, True)[2]
        simple = baselines.weekly_errors(one, 6, series.WEEK)
        found.append([network, *simple.values()])
    for before, after in zip(*found, strict=True):
        # truths of the second week's last six hours are before the change as well
        np.testing.assert_allclose(before[:2], after[:2], rtol=1e-6)
        assert before[2] != after[2]


def test_the_copy_task_asks_for_the_bit_of_delay_steps_ago():
    batch = copying.batches(3, 2, 10, seed=1)
    both = [batch(0), batch(1)]
    x, target = (np.concatenate(v) for v in zip(*(b[:2] for b in both), strict=True))
    np.testing.assert_array_equal((x[:-3] + 1) / 2, target[3:])
    assert set(x.ravel()) == {-1, 1}


def test_least_squares_finds_a_linear_rule_that_the_last_value_does_not_know():
    hour = np.arange(series.FIRST + 2 * series.WEEK + 30)
    noise = 0.02 * np.random.default_rng(0).normal(size=len(hour))
    wave = 10 * np.sin(2 * np.pi * hour / 37) + noise
    errors = baselines.weekly_errors(series.Series("a", wave), 6, series.WEEK)
    means = {name: np.mean(values) for name, values in errors.items()}
    assert means["least squares, 24 lags"] < 0.05 * means["last value"]
    assert means["SGD, 24 lags"] < means["last value"]
    change = np.abs(wave[6:] - wave[:-6])[series.FIRST :][: series.WEEK].mean()
    np.testing.assert_allclose(errors["last value"][0], change)


def test_the_trace_of_an_exact_method_has_the_size_that_the_method_states():
    kept = numbers_kept(contenders(4, 3, window=5, short=2))
    cell = 3 * (4 + 4 * 4 + 4) + 4  # W, U and b of three gates, b_n
    assert kept["GRU, RTRL"] == 4 * cell
    assert kept["GRU, SnAp-1"] == cell
    assert kept["GRU, Immediate"] == 0


def test_a_short_file_is_refused(tmp_path):
    write_temperatures(tmp_path, hours=100)
    with pytest.raises(DataError, match="100 rows, but at least"):
        series.load(tmp_path, None)
    with pytest.raises(DataError, match="Get the data from"):
        series.load(tmp_path / "nothing", None)
