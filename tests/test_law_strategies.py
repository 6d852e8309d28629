"""Law S: a strategy may change cost; never values nor gradients."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest

import jaxrnn
from jaxrnn import testing

from .helpers import CELLS, COMBINATORS, MORE_CELLS, STRATEGIES, each, example


@each("strategy", STRATEGIES)
@each("cell", CELLS)
def test_strategies_agree(strategy, cell):
    testing.check_strategy(strategy, cell, time=13, batch=3)


@each("cell", MORE_CELLS)
def test_strategies_that_look_at_the_cell_agree(cell):
    blind = jaxrnn.Checkpointed
    seeing = [s for s in STRATEGIES if not isinstance(s, blind)]
    for strategy in [*seeing, blind(4)]:
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
    @dataclass(frozen=True)
    class Forgetful(jaxrnn.Strategy):
        """Returns the right states, and a final state that is off by a little."""

        def run(self, cell, params, state, zs):
            state, states = jaxrnn.Scan().run(cell, params, state, zs)
            return state * (1 + 1e-6), states

    message = r"Law S.*under Forgetful\(\).*(state is off by|gradient of)"
    with pytest.raises(testing.LawBroken, match=message):
        testing.check_strategy(Forgetful(), jaxrnn.GRU(3, 5))


def temporary_bytes(strategy, time):
    """What the gradient of a loss needs beside its inputs and outputs."""
    cell = jaxrnn.LSTM(8, 32)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0)))
    xs = jax.ShapeDtypeStruct((time, 4, 8), jnp.float32)

    def loss(params, xs):
        state, _ = jaxrnn.unroll(cell, params, xs, strategy=strategy)
        return jnp.sum(state.h)

    compiled = jax.jit(jax.grad(loss)).lower(params, xs).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_checkpointing_needs_memory_of_the_order_of_the_square_root():
    ratios = [
        temporary_bytes(strategy, 4096) / temporary_bytes(strategy, 1024)
        for strategy in (jaxrnn.Scan(), jaxrnn.Checkpointed())
    ]
    assert ratios[0] > 3.8, "the scan's memory is of the order of T"
    assert ratios[1] < 2.2, "the square root of 4 times the steps is twice"
    scan = temporary_bytes(jaxrnn.Scan(), 4096)
    assert temporary_bytes(jaxrnn.Checkpointed(), 4096) < scan / 20
    assert temporary_bytes(jaxrnn.Checkpointed(64, jaxrnn.Checkpointed(8)), 4096) < (
        temporary_bytes(jaxrnn.Checkpointed(64), 4096)
    )
