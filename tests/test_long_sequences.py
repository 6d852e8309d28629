"""No drift: 100,000 steps in float32 stay as close to float64 as a few steps do."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from jaxrnn import Newton, Scan, unroll

from .helpers import each


STEPS = 100_000
PAIRS = [
    (jaxrnn.SLSTM(2, 4, heads=2, u_init=jaxrnn.initializers.Orthogonal(0.5)), Scan()),
    (jaxrnn.CTRNN(2, 4, u_init=jaxrnn.initializers.Orthogonal(0.5)), Scan()),
    (jaxrnn.ParaLSTM(2, 4, b_init=jaxrnn.initializers.ForgetRange(3.0, 6.0)), Newton()),
]


@each("pair", PAIRS)
def test_no_drift_in_float32(pair):
    """Within 1e-5 at the end and in between, including the sLSTM's scale."""
    cell, strategy = pair
    with jax.enable_x64(True):
        params = cell.init(jax.random.key(0))
        xs = jax.random.normal(jax.random.key(1), (STEPS, 1, 2))
        _, want = unroll(cell, params, xs, strategy=Scan())
        low = jaxrnn.cast((params, xs), jnp.float32)
        state, got = unroll(cell, *low, strategy=strategy)
    error = np.abs(np.asarray(got) - np.asarray(want)).max(axis=(1, 2))
    assert error.max() <= 1e-5
    assert error[-1000:].max() <= 10 * error[:1000].max() + 1e-6
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
