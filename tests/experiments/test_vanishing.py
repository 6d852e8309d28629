"""Bits to remember, and networks whose gradients do what their names promise."""

import jax
import numpy as np
import pytest

from experiments.vanishing.data import (
    BITS,
    Memories,
    constant_error,
    draw_memories,
)
from experiments.vanishing.measures import seen
from experiments.vanishing.model import NETWORKS, REMEDIES, SMALL, rememberer

from .helpers import small, values


@pytest.mark.parametrize("steps", [1, 2, 60])
def test_the_bits_are_given_once(steps):
    xs, bits = draw_memories(steps, 500, np.random.default_rng(0))
    np.testing.assert_array_equal(xs[0, :, :BITS], bits)
    assert set(np.unique(bits)) == {-1, 1} and not xs[1:, :, :BITS].any()
    assert constant_error(Memories(xs, bits)) == 1


def test_gradients_vanish_explode_and_survive():
    views = {}
    for case in NETWORKS:
        batch = draw_memories(40, 4, np.random.default_rng(0))
        model = rememberer(case.cell(32), batch.xs)
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
