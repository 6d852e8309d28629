"""`diag_scan` against its loop in float64: values, every derivative, resets, drift."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxrnn import diag_scan
from jaxrnn.kernels.diag_scan import diag_scan_reference


def problem(dtype, time=13, batch=3, size=5, seed=0):
    """Decays inside the unit circle, inputs, an initial state and resets."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        v = rng.uniform(-1, 1, shape)
        return v + 1j * rng.uniform(-1, 1, shape) if dtype == np.complex128 else v

    shape = (time, batch, size)
    resets = rng.uniform(size=(time, batch)) < 0.2
    return draw(*shape) / 1.5, draw(*shape), draw(batch, size), resets


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("with_resets", [False, True])
@pytest.mark.parametrize("time", [1, 13])
def test_values(dtype, reverse, with_resets, time, x64):
    a, b, start, resets = problem(dtype, time)
    resets = resets if with_resets else None
    got = diag_scan(a, b, start, resets=resets, reverse=reverse)
    want = diag_scan_reference(a, b, start, resets=resets, reverse=reverse)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == dtype
        np.testing.assert_allclose(g, w, rtol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_derivatives_of_both_modes_and_of_second_order(dtype, reverse, x64):
    a, b, start, resets = problem(dtype, time=4, batch=2, size=2)
    run = partial(diag_scan, resets=resets, reverse=reverse)
    loss = lambda *args: sum(jnp.sum(jnp.abs(x) ** 2) for x in run(*args))
    check_grads(loss, (a, b, start), order=2, rtol=1e-6)
