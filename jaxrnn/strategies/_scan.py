"""The reference strategy: one `jax.lax.scan` over the steps."""

from dataclasses import dataclass

import jax

from .._sharding import aligned
from ._base import Strategy, accumulate_in_float32


@dataclass(frozen=True)
class Scan(Strategy):
    """Runs `jax.lax.scan` over the steps. Accepts every cell, and all of JAX's autodiff.

    Every other strategy must equal this one in values and gradients. Gradients of
    parameters narrower than float32 are summed over time in float32.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.GRU(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> xs = jnp.ones((5, 2, 3))
        >>> state, ys = jaxrnn.unroll(cell, params, xs, strategy=jaxrnn.Scan())
        >>> ys.shape
        (5, 2, 4)
    """

    symbolic = True

    def run(self, cell, params, state, zs):
        stored, narrow = accumulate_in_float32(params)

        def body(state, z):
            recur = jax.vmap(cell.recur, in_axes=(None, 0, 0))
            # the carry must keep its type, also where the cell returns a constant
            after = aligned(recur(narrow(stored), state, z), state)
            return after, after

        return jax.lax.scan(body, state, zs)
