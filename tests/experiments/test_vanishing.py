"""The adding problem, and networks whose gradients do what their names promise."""

import jax
import numpy as np
import pytest

from experiments.vanishing.data import constant_error, draw_sums
from experiments.vanishing.measures import seen
from experiments.vanishing.model import NETWORKS, REMEDIES, SMALL, adder

from .helpers import small, values


@pytest.mark.parametrize("steps", [2, 3, 60])
def test_a_sum_is_that_of_the_two_marked_numbers(steps):
    xs, sums = draw_sums(steps, 500, np.random.default_rng(0))
    marked = xs[..., 1] == 1
    first, second = marked[: steps // 2].sum(axis=0), marked[steps // 2 :].sum(axis=0)
    assert (first == 1).all() and (second == 1).all()
    np.testing.assert_allclose(sums[:, 0], np.where(marked, xs[..., 0], 0).sum(axis=0))
    assert constant_error(draw_sums(steps, 20000, np.random.default_rng(1))) == (
        pytest.approx(1 / 6, rel=0.05)  # the variance of a sum of two uniform numbers
    )


def test_gradients_vanish_explode_and_survive():
    views = {}
    for case in NETWORKS:
        batch = draw_sums(40, 4, np.random.default_rng(0))
        model = adder(case.cell(32), batch.xs)
        view = seen(model, model.init(jax.random.key(0)), batch)
        views[case.network] = view["norms"][-1] / view["norms"][0], view["exponents"][0]
    reach, exponent = views[SMALL]
    assert reach < 1e-10 and exponent < np.log(0.5) + 1e-3  # tanh' is at most 1
    assert views["Elman, large weights"][1] > 0.1
    assert views["LSTM, forget bias 0"][0] < views["LSTM, forget bias 1"][0]
    assert 0.1 < views["LRU"][0] < 10 and views["LRU"][1] < 0


@pytest.mark.full
def test_it_learns(tmp_path):
    results, _ = small("vanishing", tmp_path)
    assert len(results["rows"]) == len(NETWORKS) + len(REMEDIES)
    errors = values(results, "squared error")
    assert np.isfinite(errors).all()
    constant = results["rows"][0]["baselines"]["constant"]
    assert min(errors) < 0.5 * constant
    facts = results["facts"]
    flossed = facts["elman-small-weights-flossing"]["exponent at the start"]
    assert flossed > facts["elman-small-weights"]["exponent at the start"] + 0.05
