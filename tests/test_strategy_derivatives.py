"""Law S for derivatives of every kind, and in every precision."""

import dataclasses

import jax
import jax.numpy as jnp

import jaxrnn
from jaxrnn import testing
from jaxrnn.testing._case import make_case, value_and_grads

from .helpers import GENERAL, KINDS, each


@each("strategy", [jaxrnn.Hoisted(2), jaxrnn.Checkpointed(2)])
@each("cell", GENERAL, KINDS)
def test_derivatives_of_every_kind_agree(strategy, cell):
    testing.check_transformations(cell, strategy=strategy, time=4, batch=2)


# an SLSTM and a CTRNN keep their state in float32
NARROW = [c for c in GENERAL if not isinstance(c, jaxrnn.SLSTM | jaxrnn.CTRNN)]


@each("dtype", [jnp.float32, jnp.bfloat16], [jnp.bfloat16])
@each("strategy", [jaxrnn.Hoisted(block=4), jaxrnn.Checkpointed(4)])
@each("cell", NARROW, KINDS)
def test_strategies_agree_in_low_precision(cell, strategy, dtype):
    case = make_case(cell, time=9, batch=3, seed=0)

    params, xs, state = jaxrnn.cast((case.params, case.xs, case.state), dtype)
    low = dataclasses.replace(case, params=params, xs=xs, state=state)

    def run(strategy):
        unroll = lambda layer, params, xs, state: jaxrnn.unroll(
            layer, params, xs, state, strategy=strategy
        )
        found = value_and_grads(unroll, low)
        assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(dtype)}
        return found

    tolerance = 1e-5 if dtype == jnp.float32 else 0.06
    got, want = run(strategy), run(jaxrnn.Scan())
    testing.assert_close("Law S", str(strategy), got, want, tolerance)
