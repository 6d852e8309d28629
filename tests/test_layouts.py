"""Batch-major and unbatched sequences: `unroll` with other orders of axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import (
    LSTM,
    Dropout,
    Embedding,
    Stack,
    unroll,
    unroll_batch_major,
    unroll_one,
)
from jaxrnn.testing import assert_close


MODEL = Stack((Embedding(9, 3), Dropout(0.3), LSTM(3, 4)))
PARAMS = MODEL.init(jax.random.key(0))
XS = jax.random.randint(jax.random.key(1), (6, 3), 0, 9)
RNG = np.random.default_rng(0)
MASK, RESETS = RNG.random((6, 3)) < 0.7, RNG.random((6, 3)) < 0.3
LENGTHS = np.array([6, 2, 4])
SHARED = {"reverse": True, "key": jax.random.key(2), "strategy": jaxrnn.Scan()}
START, _ = unroll(MODEL, PARAMS, XS)

WANT = unroll(
    MODEL, PARAMS, XS, START, lengths=LENGTHS, mask=MASK, resets=RESETS, **SHARED
)


def test_batch_major_with_every_option():
    marks = {"lengths": LENGTHS, "mask": MASK.T, "resets": RESETS.T}
    state, ys = unroll_batch_major(MODEL, PARAMS, XS.T, START, **marks, **SHARED)
    assert ys.shape == (3, 6, 4)
    assert_close("layouts", "batch-major", (state, ys.swapaxes(0, 1)), WANT, 1e-6)


def test_one_sequence_with_every_option():
    one = slice(1, 2)
    start = jax.tree.map(lambda s: s[one], START)
    marks = {"mask": MASK[:, one], "resets": RESETS[:, one], "lengths": LENGTHS[one]}
    want = unroll(MODEL, PARAMS, XS[:, one], start, **marks, **SHARED)
    marks = {"mask": MASK[:, 1], "resets": RESETS[:, 1], "lengths": 2}
    start = jax.tree.map(lambda s: s[0], start)
    state, ys = unroll_one(MODEL, PARAMS, XS[:, 1], start, **marks, **SHARED)
    assert ys.shape == (6, 4)
    got = jax.tree.map(lambda s: s[None], state), ys[:, None]
    assert_close("layouts", "one sequence", got, want, 1e-6)


def test_the_state_of_one_sequence_is_what_a_step_takes():
    cell, xs = LSTM(3, 4), jax.random.normal(jax.random.key(1), (6, 3))
    params = cell.init(jax.random.key(0))
    _, ys = unroll_one(cell, params, xs)
    state, _ = unroll_one(cell, params, xs[:5])
    _, y = cell.step(params, state, xs[5])
    np.testing.assert_allclose(y, ys[5], rtol=1e-5)
    state, _ = unroll_one(cell, params, xs[:2])
    _, rest = unroll_one(cell, params, xs[2:], state)
    np.testing.assert_allclose(rest, ys[2:], rtol=1e-5)


def test_gradients_and_jit_pass_through():
    cell, xs = LSTM(3, 4), jax.random.normal(jax.random.key(1), (2, 6, 3))
    params = cell.init(jax.random.key(0))
    lengths = jnp.array([6, 3])

    def loss(params, xs, run):
        _, ys = run(cell, params, xs, lengths=lengths)
        return jnp.sum(ys**2)

    grad = jax.jit(jax.grad(loss), static_argnums=2)
    got, want = (
        grad(params, xs, unroll_batch_major),
        grad(params, xs.swapaxes(0, 1), unroll),
    )
    assert_close("layouts", "gradients", got, want, 1e-5)


BAD = [
    (
        unroll_batch_major,
        {"xs": jnp.zeros(6)},
        ValueError,
        r"\(6,\).*\(B, T, features\)",
    ),
    (unroll_batch_major, {"xs": None}, TypeError, r"no array.*\(B, T, features\)"),
    (
        unroll_batch_major,
        {"mask": MASK},
        ValueError,
        r"mask.*\(6, 3\).*\(B, T\) = \(3, 6\)",
    ),
    (unroll_batch_major, {"resets": "no"}, TypeError, r"resets.*booleans \(B, T\)"),
    (unroll_batch_major, {"mask": np.ones((3, 6))}, TypeError, "mask is float.*astype"),
    (
        unroll_batch_major,
        {"length": LENGTHS},
        TypeError,
        "unexpected keyword argument 'length'",
    ),
    (unroll_one, {"xs": jnp.zeros(())}, ValueError, r"\(\).*\(T, features\)"),
    (unroll_one, {"mask": MASK}, ValueError, r"mask.*\(T,\) = \(6,\)"),
    (
        unroll_one,
        {"lengths": LENGTHS},
        ValueError,
        r"\(3,\).*one sequence.*one integer",
    ),
    (unroll_one, {"lengths": 7}, ValueError, r"\[7\].*from 0 to 6"),
    (unroll_one, {"lengths": 1.5}, TypeError, "lengths.*float 1.5.*one integer"),
    (unroll_one, {"lengths": True}, TypeError, "lengths are bool"),
    (unroll_one, {"lengths": "all"}, TypeError, "lengths.*one integer"),
    (unroll_one, {"state": START}, ValueError, "is needed"),
    (unroll_one, {"state": 0.0}, TypeError, "not an array"),
]


@pytest.mark.parametrize("run, wrong, error, message", BAD)
def test_what_does_not_fit_is_refused_in_the_layout_of_the_caller(
    run, wrong, error, message
):
    xs = XS.T if run is unroll_batch_major else XS[:, 0]
    with pytest.raises(error, match=message):
        run(MODEL, PARAMS, **{"xs": xs, **wrong})
