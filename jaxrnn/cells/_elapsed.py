"""Inputs that come with the time since the step before."""

from typing import Any

from jaxtyping import Array, Float


def with_elapsed(x: Any) -> tuple[Float[Array, "x"], Float[Array, ""] | None]:
    """`(x, dt)` as it is; for a plain input, None in place of dt, which means 1."""
    return x if isinstance(x, tuple | list) else (x, None)
