"""Rows of a mapped kernel as rows of one larger batch.

`jax.vmap` over inputs and states with shared weights adds rows, and nothing else: V calls
of B rows are one call of V B rows, which packs the weights once and fills its tiles.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array


SHARED = -1
"""In place of an axis: an array without rows, such as a weight."""


class RowAxes(NamedTuple):
    """The axis along which arrays have rows; each a prefix of what it describes."""

    operands: Any
    nondiff: Any
    out: Any
    saved: Any


def foldable(axes: Any, mapped: Any) -> bool:
    """Whether nothing is mapped but what has rows."""
    whole = jax.tree.leaves(jax.tree.broadcast(axes, mapped))
    pairs = zip(whole, jax.tree.leaves(mapped), strict=True)
    return not any(is_mapped for axis, is_mapped in pairs if axis == SHARED)


def fold(axes: Any, mapped: Any, size: int, arrays: Any) -> Any:
    """`(V, ..., B, ...)` as `(..., V B, ...)`; what is not mapped is repeated."""

    def one(axis: int, is_mapped: bool, x: Array) -> Array:
        if axis == SHARED:
            return x
        x = jnp.moveaxis(x, 0, axis) if is_mapped else jnp.expand_dims(x, axis)
        shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
        return _merged(jnp.broadcast_to(x, shape), axis)

    return jax.tree.map(one, jax.tree.broadcast(axes, arrays), mapped, arrays)


def unfold(axes: Any, size: int, arrays: Any) -> Any:
    """The way back; an array without rows is left as it is."""

    def one(axis: int, x: Array) -> Array:
        if axis == SHARED:
            return x
        rows = x.shape[axis] // size
        apart = x.reshape(*x.shape[:axis], size, rows, *x.shape[axis + 1 :])
        return jnp.moveaxis(apart, axis, 0)

    return jax.tree.map(one, jax.tree.broadcast(axes, arrays), arrays)


def _merged(x: Array, axis: int) -> Array:
    both = x.shape[axis] * x.shape[axis + 1]
    return x.reshape(*x.shape[:axis], both, *x.shape[axis + 2 :])
