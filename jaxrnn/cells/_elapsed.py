"""Inputs that carry the time elapsed since the previous step."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Shaped


def with_elapsed(x: Any) -> tuple[Shaped[Array, "x"], Shaped[Array, ""] | None]:
    """`(x, dt)` as arrays; for a plain input dt is None, which means 1."""
    if isinstance(x, tuple | list):
        features, dt = x
        return jnp.asarray(features), jnp.asarray(dt)
    return jnp.asarray(x), None
