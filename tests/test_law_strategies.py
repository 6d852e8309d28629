"""Law S: a strategy may change cost, but neither values nor gradients."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest

import jaxrnn
from jaxrnn import GRU, LSTM, Bidirectional, Dense, PeepholeLSTM, Stack, testing
from jaxrnn.strategies._checkpointed import _about_sqrt

from .helpers import (
    COMBINATORS,
    GENERAL,
    KINDS,
    STRATEGIES,
    Decay,
    each,
    example,
)


PAIRS = [(strategy, cell) for strategy in STRATEGIES for cell in GENERAL]
QUICK = [(s, c) for s, c in PAIRS if c in KINDS or s == jaxrnn.Hoisted()]


@each("pair", PAIRS, QUICK)
def test_strategies_agree(pair):
    strategy, cell = pair
    options = ["lengths", "mask", "resets", "reverse"]
    testing.check_strategy(strategy, cell, options, time=13, batch=3)


FRONTS = [
    Stack((GRU(4, 4),) * 3),
    Stack((LSTM(3, 4), LSTM(4, 4), LSTM(4, 4), GRU(4, 2))),
    Stack((PeepholeLSTM(4, 4), PeepholeLSTM(4, 4), Dense(4, 2))),
    Stack((Decay(4), Decay(4))),
    Bidirectional(LSTM(3, 4)),
    Stack((Bidirectional(GRU(3, 3), merge=jnp.add),) * 2),
]


@each("options", [[], ["lengths", "mask", "resets", "reverse"]])
@each("layer", FRONTS, [FRONTS[1], FRONTS[3], FRONTS[5]])
def test_wavefronts_agree(layer, options):
    testing.check_strategy(jaxrnn.Wavefront(), layer, options, time=7, batch=3)


def test_wavefronts_have_all_derivatives_and_run_in_one_loop():
    layer = Stack((LSTM(3, 3),) * 3)
    testing.check_transformations(layer, strategy=jaxrnn.Wavefront(), time=4, batch=2)
    said = jaxrnn.explain(layer, (7, 2, 3), strategy=jaxrnn.Wavefront())
    (decision,) = said.decisions
    assert decision.time == 7 + 3 - 1


@each("time", [1, 63])
@each("strategy", STRATEGIES)
def test_strategies_agree_at_awkward_lengths(strategy, time):
    for options in ([], ["resets", "reverse"]):
        testing.check_strategy(strategy, LSTM(3, 7), options, time=time, batch=1)


@each("layer", COMBINATORS, KINDS)
def test_strategies_agree_on_layers(layer):
    options = ["lengths", "mask", "resets", "reverse"]
    testing.check_strategy(
        jaxrnn.Checkpointed(4), layer, options, x=example(layer), time=9
    )


def test_a_wrong_strategy_is_caught():
    @dataclass(frozen=True)
    class Forgetful(jaxrnn.Strategy):
        """A faulty strategy: the states are right, but the final state is slightly off."""

        def run(self, cell, params, state, zs):
            state, states = jaxrnn.Scan().run(cell, params, state, zs)
            return state * (1 + 1e-6), states

    message = r"Law S.*under Forgetful\(\).*(state is off by|gradient of)"
    with pytest.raises(testing.LawBroken, match=message):
        testing.check_strategy(Forgetful(), GRU(3, 5))


def temporary_bytes(strategy, time):
    """The temporary memory of the gradient of a loss."""
    cell = LSTM(8, 32)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0)))
    xs = jax.ShapeDtypeStruct((time, 4, 8), jnp.float32)

    def loss(params, xs):
        state, _ = jaxrnn.unroll(cell, params, xs, strategy=strategy)
        return jnp.sum(state.h)

    compiled = jax.jit(jax.grad(loss)).lower(params, xs).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_checkpointing_needs_memory_of_the_order_of_the_square_root():
    by_step = jaxrnn.Checkpointed(inner=jaxrnn.Scan())
    ratios = [
        temporary_bytes(strategy, 4096) / temporary_bytes(strategy, 1024)
        for strategy in (jaxrnn.Scan(), by_step)
    ]
    assert ratios[0] > 3.8, "the scan's memory is of the order of T"
    assert ratios[1] < 2.2, "the square root of 4 times the steps is twice"
    scan = temporary_bytes(jaxrnn.Scan(), 4096)
    assert temporary_bytes(by_step, 4096) < scan / 20
    assert temporary_bytes(jaxrnn.Checkpointed(), 4096) < scan / 20
    nested = jaxrnn.Checkpointed(64, jaxrnn.Checkpointed(8, jaxrnn.Scan()))
    once = jaxrnn.Checkpointed(64, jaxrnn.Scan())
    assert temporary_bytes(nested, 4096) < temporary_bytes(once, 4096)


def test_states_between_chunks_can_lie_with_the_host():
    cell = LSTM(3, 4)
    params, xs = cell.init(jax.random.key(0)), jnp.ones((12, 2, 3))

    def grad(offload):
        strategy = jaxrnn.Checkpointed(4, offload=offload)
        run = lambda p: jaxrnn.unroll(cell, p, xs, strategy=strategy)[1].sum()
        return jax.grad(run)

    assert "f32<host>[3,2,4]" in str(jax.make_jaxpr(grad(True))(params))
    assert "<host>" not in str(jax.make_jaxpr(grad(False))(params))
    testing.assert_close(
        "Law S", "offload", grad(True)(params), grad(False)(params), 1e-6
    )


@each("time, every", [(1, 1), (7, 2), (64, 8), (100, 10), (1000, 40), (1024, 32)])
def test_checkpoints_divide_the_time_where_they_can(time, every):
    assert _about_sqrt(time) == every
