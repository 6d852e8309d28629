"""Law S: a strategy may change cost; never values nor gradients."""

import pytest

import jaxrnn
from jaxrnn import testing

from .helpers import CELLS, COMBINATORS, STRATEGIES, each, example


@each("strategy", STRATEGIES)
@each("cell", CELLS)
def test_strategies_agree(strategy, cell):
    testing.check_strategy(strategy, cell, time=13, batch=3)


@each("time", [1, 63])
@each("strategy", STRATEGIES)
def test_strategies_agree_at_awkward_lengths(strategy, time):
    for options in ([], ["resets", "reverse"]):
        testing.check_strategy(strategy, jaxrnn.LSTM(3, 7), options, time=time, batch=1)


@each("layer", COMBINATORS)
def test_strategies_agree_on_layers(layer):
    options = ["lengths", "resets", "reverse"]
    testing.check_strategy(
        jaxrnn.Checkpointed(4), layer, options, x=example(layer), time=9
    )


def test_a_wrong_strategy_is_caught():
    class Forgetful(jaxrnn.Strategy):
        """Returns the right state, and states that are off by a little."""

        def run(self, cell, params, state, zs):
            state, states = jaxrnn.Scan().run(cell, params, state, zs)
            return state, states * (1 + 1e-6)

    with pytest.raises(
        testing.LawBroken, match=r"Law S.*Forgetful.*ys is off by 1e-06"
    ):
        testing.check_strategy(Forgetful(), jaxrnn.GRU(3, 5))
