"""Validation of the arguments of the operations."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def as_array(owner: str, name: str, value: Any) -> jax.Array:
    """The value as an array of floating-point or complex numbers."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        raise TypeError(
            f"{owner}: {name} is {type(value).__name__}; give an array with time as its "
            "first axis."
        )
    if not jnp.issubdtype(value.dtype, jnp.inexact):
        raise TypeError(
            f"{owner}: {name} is {value.dtype}; give floating-point or complex numbers."
        )
    return jnp.asarray(value)


def arrays(owner: str, named: dict[str, Any], reverse: Any) -> tuple[Any, ...]:
    """Two sequences of the same shape, `(T, ...)`, and a state `(...)` or None."""
    first, second, state = named
    a, b = (as_array(owner, name, named[name]) for name in (first, second))
    check_time(owner, second, b)
    check_shape(owner, first, a, b.shape)
    if not isinstance(reverse, bool):
        raise TypeError(f"{owner}: reverse is {reverse!r}; give True or False.")
    if named[state] is None:
        return a, b, None
    initial = as_array(owner, state, named[state])
    check_shape(owner, state, initial, b.shape[1:])
    return a, b, initial


def real_arrays(owner: str, named: dict[str, Any], reverse: Any) -> tuple[Any, ...]:
    """The same as `arrays`; TypeError if one of them is complex."""
    for name, value in named.items():
        if value is not None and jnp.iscomplexobj(value):
            raise TypeError(f"{owner}: {name} is complex; give floating-point numbers.")
    return arrays(owner, named, reverse)


def check_time(owner: str, name: str, value: jax.Array) -> None:
    """Checks that the array has a first axis, of at least one step."""
    if value.ndim == 0 or value.shape[0] == 0:
        raise ValueError(
            f"{owner}: {name} has the shape {value.shape}, which means no steps; give an "
            "array whose first axis is time, with at least one step."
        )


def check_shape(owner: str, name: str, value: jax.Array, shape: tuple) -> None:
    """Checks that the array has the shape that the other arrays require."""
    if value.shape != shape:
        raise ValueError(
            f"{owner}: {name} has the shape {value.shape}, where {shape} is needed to "
            "match the other arrays."
        )


def as_resets(owner: str, resets: Any, shape: tuple[int, ...]) -> jax.Array | None:
    """Resets as booleans over the first axes of `shape`, or None."""
    if resets is None:
        return None
    if not isinstance(resets, jax.Array | np.ndarray) or resets.dtype != bool:
        kind = getattr(resets, "dtype", type(resets).__name__)
        raise TypeError(
            f"{owner}: resets are {kind}; give booleans (T, B), True where a step "
            "starts from zero."
        )
    if resets.ndim == 0 or resets.shape != shape[: resets.ndim]:
        raise ValueError(
            f"{owner}: resets have the shape {resets.shape}; give booleans over the "
            f"first axes of {shape}, such as {shape[:2]}."
        )
    return jnp.asarray(resets)
