"""Time as chunks of steps."""

import math

import jax.numpy as jnp
from jaxtyping import Array


def folded(x: Array, size: int) -> Array:
    """`(T, ...)` as `(T / size, size, ...)`. Zeros after the end: such steps write nothing
    and keep everything."""
    count = math.ceil(x.shape[0] / size)
    x = jnp.pad(x, [(0, count * size - x.shape[0])] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(count, size, *x.shape[1:])


def unfolded(x: Array, time: int) -> Array:
    """The way back, without the steps after the end."""
    count, size, *rest = x.shape
    return x.reshape(count * size, *rest)[:time]
