"""Splitting the time axis into chunks of steps, and joining them."""

import math

import jax.numpy as jnp
from jaxtyping import Array


def folded(x: Array, size: int) -> Array:
    """`(T, ...)` as `(ceil(T / size), size, ...)`.

    Steps after the end are zeros: with a key of 0 and a log decay of 0, such a step writes
    nothing and keeps the state.
    """
    count = math.ceil(x.shape[0] / size)
    x = jnp.pad(x, [(0, count * size - x.shape[0])] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(count, size, *x.shape[1:])


def unfolded(x: Array, time: int) -> Array:
    """The inverse of `folded`, without the steps after the end."""
    count, size, *rest = x.shape
    return x.reshape(count * size, *rest)[:time]
