"""The kernels for NVIDIA GPUs, in JAX's simulator of a GPU with its race detector.

The simulator runs all blocks of a cluster at once, each in a thread, and follows shared and
global memory, barriers and copies. Its matmuls do not round as tensor cores do. Only JAX
0.12 has it: `conftest.py` has the table. The tests for every version of JAX are in
`test_pallas_gpu_pieces.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.kernels import pallas_gpu
from jaxrnn.strategies import on_platform
from jaxrnn.testing._compare import assert_close

from .test_pallas_gpu_pieces import CELLS, H, example, reference


# 2 of the 8 blocks that a GPU would run, with 2 warpgroups each: all waiting is still there
simulated = lambda **options: pallas_gpu.simulated(blocks=2, **options)


def elman(scale, h, x, products):
    z, valid = x
    after = jnp.where(valid[:, None], jnp.tanh(z + scale * products[0]), h)
    return (h,), after, after


def arguments(time, batch, dtype, hidden=H):
    keys = jax.random.split(jax.random.key(0), 4)
    w = jax.random.normal(keys[0], (hidden, hidden)) * hidden**-0.5
    h = jax.random.normal(keys[1], (batch, hidden))
    z = jax.random.normal(keys[2], (time, batch, hidden))
    valid = jax.random.bernoulli(keys[3], 0.7, (time, batch))
    w, h, z = (x.astype(dtype) for x in (w, h, z))
    matmul = pallas_gpu.Matmul(w, dtype)
    return elman, (matmul,), jnp.asarray(1.5, dtype), h, (z, valid)


# 64 sequences are as many as units, so a mask could be taken for a vector of units; 70 need
# two tiles, the second padded; one is the smallest batch
@pytest.mark.parametrize(
    ("batch", "dtype"),
    [(1, jnp.float32), (64, jnp.bfloat16), (70, jnp.float32), (3, jnp.bfloat16)],
)
def test_scan_equals_its_definition(batch, dtype):
    given = arguments(3, batch, dtype)
    reverse = batch == 70
    with simulated():
        found = jax.jit(lambda: pallas_gpu.scan(*given, reverse=reverse))()
    expected = reference(*given, reverse=reverse)
    # float32 differs by the order of sums; bfloat16 has 8 bits, and a step rounds once or twice
    tolerance = 1e-5 if dtype == jnp.float32 else 2.0**-6
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_allclose(
            a.astype(jnp.float32), b.astype(jnp.float32), atol=tolerance, rtol=tolerance
        )


def test_more_tiles_than_slots():
    """The division of a GPU: 8 blocks of 2 warpgroups, which wait for each other's slots."""
    given = arguments(2, 3, jnp.float32, hidden=384)
    plan = pallas_gpu.check(*given)
    assert (plan.blocks, plan.groups) == (
        8,
        2,
    ) and plan.hidden // plan.atom > plan.slots
    with pallas_gpu.simulated():
        found = jax.jit(lambda: pallas_gpu.scan(*given))()
    for a, b in zip(*map(jax.tree.leaves, (found, reference(*given))), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)


def test_float32_is_rounded_as_for_tensor_cores():
    body, (matmul,), scale, h, xs = arguments(1, 3, jnp.float32)

    def nearest(x):
        mantissa, exponent = np.frexp(np.float64(x))
        whole = np.floor(np.abs(mantissa) * 2.0**11 + 0.5)
        return np.ldexp(np.copysign(whole, x) / 2.0**11, exponent)

    with simulated(tf32=True):
        _, ys = jax.jit(lambda: pallas_gpu.scan(body, (matmul,), scale, h, xs))()
    z, valid = xs[0][0], xs[1][0]
    y = np.tanh(z + 1.5 * nearest(h) @ nearest(matmul.weight))
    np.testing.assert_allclose(
        ys[0], np.where(valid[:, None], y, h), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(("without", "hidden"), [("blocks", H), ("slots", 384)])
def test_a_wait_that_is_missing_is_found(without, hidden):
    given = arguments(2, 3, jnp.float32, hidden)
    run = jax.jit(lambda: pallas_gpu.scan(*given, without=without))
    with pallas_gpu.simulated(blocks=2 if hidden == H else 8):
        with pytest.raises(jax.errors.JaxRuntimeError, match="RACE DETECTED"):
            jax.block_until_ready(run())


def value_and_grads(cell, strategy):
    params, state, xs, lengths, resets = example(cell, time=3, batch=3)

    def loss(params, state, xs):
        state, ys = jaxrnn.unroll(
            cell, params, xs, state, lengths=lengths, resets=resets, strategy=strategy
        )
        total = sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves((state, ys)))
        return total, (state, ys)

    run = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)
    return jax.jit(run)(params, state, xs)


FEW = ("IndRNN", "GRU-before")
"""The cells of a short run: no matmul, and two matmuls of which one is nested."""


@pytest.mark.parametrize(
    "name",
    [
        name if name in FEW else pytest.param(name, marks=pytest.mark.full)
        for name in CELLS
    ],
)
def test_values_and_gradients_equal_those_of_scan(name):
    with simulated(), on_platform("gpu"):
        found = value_and_grads(CELLS[name], jaxrnn.Fused())
    expected = value_and_grads(CELLS[name], jaxrnn.Scan())
    assert_close("law S", name, found, expected, 1e-5)


def test_auto_passes_it_over():
    cell = CELLS["LSTM"]
    with on_platform("gpu"):
        params, state, xs, *_ = example(cell, time=3, batch=2)
        plan = jaxrnn.Auto().plan(cell, params, state, xs)
    assert plan.strategy == jaxrnn.Hoisted()
    (reason,) = (why for who, why in plan.passed_over if who == jaxrnn.Fused())
    assert "never run on a GPU" in reason
