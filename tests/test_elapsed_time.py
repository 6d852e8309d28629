"""Cells of continuous time: inputs that come with the time since the previous step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import testing, unroll


CELLS = [jaxrnn.CTRNN(3, 4), jaxrnn.CfC(3, 4, 5, backbone_layers=2)]
every_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda c: type(c).__name__)
TIMED = (jnp.zeros(3), jnp.zeros(()))


@every_cell
def test_timed_inputs_keep_the_law(cell):
    testing.check_unroll(cell, ["lengths", "resets"], x=TIMED, time=3, batch=2)


@every_cell
def test_time_is_one_where_it_is_not_given(cell):
    params = cell.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (5, 2, 3))
    _, plain = unroll(cell, params, xs)
    _, timed = unroll(cell, params, (xs, jnp.ones((5, 2))))
    np.testing.assert_allclose(plain, timed, rtol=1e-6)
    _, later = unroll(cell, params, (xs, jnp.full((5, 2), 3.0)))
    assert jnp.abs(later - plain).max() > 0.01


def test_two_half_steps_are_one_step(x64):
    """Without recurrent weights the equation is solved exactly, however time is cut."""
    cell = jaxrnn.CTRNN(3, 4, u_init=jaxrnn.initializers.Identity(0.0))
    params = cell.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (5, 2, 3))
    _, whole = unroll(cell, params, (xs, jnp.full((5, 2), 0.8)))
    halves = jnp.repeat(xs, 2, axis=0), jnp.full((10, 2), 0.4)
    _, cut = unroll(cell, params, halves)
    np.testing.assert_allclose(cut[1::2], whole, rtol=1e-12)


def test_a_ctrnn_is_stable_for_any_step():
    """Plain Euler steps of 50 time constants would grow by a factor of 49 each."""
    cell = jaxrnn.CTRNN(3, 4)
    params = cell.init(jax.random.key(0))._replace(log_tau=jnp.zeros(4))
    _, ys = unroll(cell, params, (jnp.ones((200, 1, 3)), jnp.full((200, 1), 50.0)))
    assert jnp.abs(ys).max() <= 1
