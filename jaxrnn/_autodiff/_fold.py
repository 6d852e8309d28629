"""Folds an axis of `jax.vmap` into the batch axis of an operation.

`jax.vmap` over inputs and states with shared weights only adds sequences: V calls with
batch size B equal one call with batch size V B. The one call packs the weights once and
fills the tiles of its matmuls.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array


SHARED = -1
"""Instead of an axis: an array without a batch axis, such as a weight."""


class RowAxes(NamedTuple):
    """The batch axis of each array of an operation, or SHARED.

    Each field is a pytree prefix of the arrays that it describes. `saved` are the
    residuals.
    """

    operands: Any
    nondiff: Any
    out: Any
    saved: Any


def foldable(axes: Any, mapped: Any) -> bool:
    """Whether every vmapped array has a batch axis; a vmapped weight has none."""
    whole = jax.tree.leaves(jax.tree.broadcast(axes, mapped))
    pairs = zip(whole, jax.tree.leaves(mapped), strict=True)
    return not any(is_mapped for axis, is_mapped in pairs if axis == SHARED)


def fold(axes: Any, mapped: Any, size: int, arrays: Any) -> Any:
    """`(V, ..., B, ...)` as `(..., V B, ...)`; an array that is not mapped is repeated."""

    def one(axis: int, is_mapped: bool, x: Array) -> Array:
        if axis == SHARED:
            return x
        x = jnp.moveaxis(x, 0, axis) if is_mapped else jnp.expand_dims(x, axis)
        shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
        return _merged(jnp.broadcast_to(x, shape), axis)

    return jax.tree.map(one, jax.tree.broadcast(axes, arrays), mapped, arrays)


def unfold(axes: Any, size: int, arrays: Any) -> Any:
    """The inverse of `fold`; arrays without a batch axis are returned unchanged."""

    def one(axis: int, x: Array) -> Array:
        if axis == SHARED:
            return x
        batch = x.shape[axis] // size
        split = x.reshape(*x.shape[:axis], size, batch, *x.shape[axis + 1 :])
        return jnp.moveaxis(split, axis, 0)

    return jax.tree.map(one, jax.tree.broadcast(axes, arrays), arrays)


def _merged(x: Array, axis: int) -> Array:
    both = x.shape[axis] * x.shape[axis + 1]
    return x.reshape(*x.shape[:axis], both, *x.shape[axis + 2 :])
