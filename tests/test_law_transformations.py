"""`unroll` under vmap, jvp and second derivatives; dtypes; tracing."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import testing

from .helpers import GENERAL, KINDS, LAYERS, each, example


@each("layer", LAYERS, KINDS)
def test_vmap_jvp_and_hessian(layer):
    testing.check_transformations(layer, x=example(layer), time=4, batch=2)


@each("strategy", [jaxrnn.Checkpointed(2), jaxrnn.Auto()])
def test_vmap_jvp_and_hessian_under(strategy):
    testing.check_transformations(jaxrnn.LSTM(3, 5), strategy=strategy, time=5, batch=2)


@each("layer", LAYERS, KINDS)
def test_dtypes_are_kept(layer):
    testing.check_dtypes(layer, x=example(layer))


@each("layer", LAYERS)
def test_no_retracing(layer):
    testing.check_retracing(layer, x=example(layer))


@each("layer", LAYERS)
def test_protocol(layer):
    testing.check_protocol(layer)


# the gradient of the bias is what grows, where nothing clips it
BIASED = [c for c in GENERAL[:-1] if c.use_bias and not getattr(c, "clip", None)]


@each("strategy", [jaxrnn.Scan(), jaxrnn.Checkpointed(50)])
@each("cell", BIASED, KINDS[1:3])
def test_bfloat16_gradients_are_added_up_in_float32(cell, strategy):
    """The sum has 512 equal terms; in bfloat16 it would stop growing at 256 times a term."""
    time = 512
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0)))
    xs = jnp.ones((time, 1, 3))

    def loss(params, xs):
        # through z alone, so that every step adds the same to the bias's gradient
        _, ys = jaxrnn.unroll(cell, params, xs, strategy=strategy)
        return jnp.sum(ys.astype(jnp.float32))

    want = jax.grad(loss)(params, xs)
    low, xs = jaxrnn.cast((params, xs), jnp.bfloat16)
    got = jax.grad(loss)(low, xs)
    assert got.b.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.asarray(got.b, np.float32), np.asarray(want.b), rtol=0.05, atol=1e-2
    )


def test_a_cell_that_is_rebuilt_unequal_is_caught():
    @dataclass(frozen=True, eq=False)
    class Nameless(jaxrnn.Cell):
        input_size: int = 3

        def init(self, key):
            return jnp.zeros(3)

        def initial_state(self, params):
            return jnp.zeros(3)

        def recur(self, params, state, z):
            return state + z + params

    with pytest.raises(testing.LawBroken, match="frozen=True"):
        testing.check_protocol(Nameless())
    with pytest.raises(testing.LawBroken, match="traced 2 times"):
        testing.check_retracing(Nameless())
