"""Pooling over the valid steps of each sequence, against loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxrnn.ops import last_pool, max_pool, mean_pool

from .helpers import each


TIME, BATCH = 5, 4
LENGTHS = np.array([5, 0, 1, 3])
POOLS = {last_pool: lambda ys: ys[-1], mean_pool: np.mean, max_pool: np.max}


def oracle(pool, ys, lengths):
    """One sequence and one feature at a time."""
    ys, reduce = np.asarray(ys), POOLS[pool]
    out = np.zeros(ys.shape[1:], ys.dtype)
    for b, *feature in np.ndindex(*out.shape):
        if lengths[b]:
            out[b, *feature] = reduce(ys[(slice(lengths[b]), b, *feature)])
    return out


def sequences(*features):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.standard_normal((TIME, BATCH, *features)))


@each("pool", list(POOLS))
@each("features", [(), (3,), (3, 2)])
def test_values(pool, features, x64):
    ys = sequences(*features)
    for run in (pool, jax.jit(pool)):
        np.testing.assert_allclose(run(ys, LENGTHS), oracle(pool, ys, LENGTHS))
        np.testing.assert_allclose(run(ys), oracle(pool, ys, [TIME] * BATCH))


@each("pool", list(POOLS))
@each("lengths", [LENGTHS, None])
def test_derivatives_of_both_modes(pool, lengths, x64):
    run = lambda ys: pool(ys, lengths)
    check_grads(run, (sequences(3),), order=2, modes=["fwd", "rev"])


@each("pool", list(POOLS))
def test_padding_reaches_neither_values_nor_gradients(pool):
    ys = sequences(3).astype(jnp.float32)
    padding = (np.arange(TIME)[:, None] >= LENGTHS)[..., None]
    run = jax.value_and_grad(lambda ys: jnp.sum(pool(ys, LENGTHS) ** 2))
    want = run(jnp.where(padding, 0, ys))
    with jax.debug_nans(False):
        got = run(jnp.where(padding, jnp.nan, ys))
    jax.tree.map(np.testing.assert_array_equal, got, want)
    np.testing.assert_array_equal(got[1][np.broadcast_to(padding, ys.shape)], 0)


@each("dtype", [jnp.bfloat16, jnp.float16])
@each("lengths", [LENGTHS, None])
def test_a_mean_of_a_narrow_dtype_is_rounded_once(dtype, lengths):
    ys = jnp.tile(sequences(500), (40, 1, 1)).astype(dtype)
    counts = np.full(BATCH, len(ys)) if lengths is None else lengths
    exact = oracle(mean_pool, np.asarray(ys, np.float64), counts)
    mean = mean_pool(ys, lengths)
    assert mean.dtype == dtype
    half_a_unit = 0.51 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(mean, exact, rtol=half_a_unit, atol=1e-6)


def test_the_sum_of_a_mean_may_exceed_the_largest_number_of_its_dtype():
    ys = jnp.full((1000, 1, 1), 100, jnp.float16)  # the largest is 65504
    mean = mean_pool(ys, np.array([999]))
    np.testing.assert_array_equal(mean, jnp.full((1, 1), 100, jnp.float16))


def test_ties_share_the_gradient_of_the_maximum():
    ys = jnp.array([2.0, 1.0, 2.0, 2.0])[:, None, None]
    grad = jax.grad(lambda ys: max_pool(ys, np.array([3])).sum())(ys)
    np.testing.assert_array_equal(grad[:, 0, 0], jnp.array([0.5, 0.0, 0.5, 0.0]))


@each("pool", list(POOLS))
def test_lengths_of_any_dtype_and_out_of_range_inside_jit(pool):
    ys = sequences(3).astype(jnp.float32)
    want = pool(ys, LENGTHS)
    np.testing.assert_array_equal(pool(ys, LENGTHS.astype(np.uint8)), want)
    wild = np.where(LENGTHS == TIME, 100, np.where(LENGTHS == 0, -3, LENGTHS))
    got = jax.jit(pool)(ys, wild)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    long = jnp.arange(300.0)[:, None, None]  # more steps than 8 bits can count
    got = pool(long, np.array([200], np.uint8))
    np.testing.assert_allclose(got, pool(long[:200]), rtol=1e-6)


@each("pool", list(POOLS))
def test_vmap(pool):
    many = jnp.stack([sequences(3), 2 * sequences(3)]).astype(jnp.float32)
    lengths = np.stack([LENGTHS, LENGTHS[::-1]])
    want = jnp.stack([pool(ys, n) for ys, n in zip(many, lengths, strict=True)])
    np.testing.assert_allclose(jax.vmap(pool)(many, lengths), want, rtol=1e-6)


@each("pool", list(POOLS))
def test_bad_input_is_refused(pool):
    name, ys = pool.__name__, jnp.ones((5, 4, 3))
    with pytest.raises(TypeError, match=f"{name}: ys is list"):
        pool([1.0])
    with pytest.raises(TypeError, match=f"{name}: ys is int32"):
        pool(jnp.ones((5, 4, 3), int))
    with pytest.raises(ValueError, match=rf"{name}: ys has the shape \(5,\)"):
        pool(jnp.ones(5))
    with pytest.raises(ValueError, match=r"contain \[6\], but ys has T=5 steps"):
        pool(ys, np.array([6, 0, 1, 2]))
    with pytest.raises(
        ValueError, match=r"lengths have the shape \(2,\), but ys has B=4"
    ):
        pool(ys, np.array([1, 2]))
    with pytest.raises(TypeError, match="lengths are float32"):
        pool(ys, np.ones(4, np.float32))


def test_a_maximum_of_complex_numbers_is_refused():
    with pytest.raises(TypeError, match="max_pool: ys are complex"):
        max_pool(jnp.ones((5, 4, 3), jnp.complex64))
