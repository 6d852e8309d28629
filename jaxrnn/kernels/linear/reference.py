"""The diagonal linear recurrence."""

import jax
import jax.numpy as jnp

from .._arrays import trailing


def linear(a, b, h0, resets=None):
    """h_t = a_t h_{t-1} + b_t, element by element; a and b `(T, N)`, h0 `(N,)`.

    A step with a reset, booleans over the first axes of `a`, takes h_{t-1} for zero.
    """

    def body(h, step):
        a, b, reset = step
        h = h if reset is None else jnp.where(trailing(reset, h.ndim), 0, h)
        h = a * h + b
        return h, h

    return jax.lax.scan(body, h0, (a, b, resets))[1]
