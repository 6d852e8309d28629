"""Pooling over the valid steps of each sequence: the last, the mean, the maximum.

The padding is zeroed or left out by `jnp.where` before it is reduced, since zero times NaN
is NaN, in values and in gradients.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Integer

from .._arrays import expand_trailing, state_dtype, valid_steps
from .._validate import check_lengths
from ._checks import as_array


def last_pool(
    ys: Inexact[Array, "T B ..."], lengths: Integer[Array, "B"] | None = None
) -> Inexact[Array, "B ..."]:
    """The output of the last valid step of each sequence.

        pooled_b = ys[lengths_b - 1, b],    or zero for a length of 0

    Args:
        ys: `(T, B, y)`, such as the outputs of `unroll`; floating-point or complex.
        lengths: `(B,)` integers from 0 to T; None if all steps are valid. Nothing in the
            padding, NaN included, reaches values or gradients.

    Returns:
        `(B, y)`, in the dtype of `ys`.

    Raises:
        TypeError, ValueError: if `ys` or the lengths are invalid.

    Example:
        >>> import jax.numpy as jnp, jaxrnn
        >>> ys = jnp.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])[..., None]
        >>> jaxrnn.ops.last_pool(ys, jnp.array([3, 2]))[:, 0].tolist()
        [3.0, 2.0]
    """
    ys, lengths = _checked("last_pool", ys, lengths)
    if lengths is None:
        return ys[-1]
    last = jnp.maximum(lengths, 1) - 1
    index = expand_trailing(last[None, :], ys.ndim)
    picked = jnp.take_along_axis(ys, index, axis=0)[0]
    return _unless_empty(picked, lengths)


def mean_pool(
    ys: Inexact[Array, "T B ..."], lengths: Integer[Array, "B"] | None = None
) -> Inexact[Array, "B ..."]:
    """The mean over the valid steps of each sequence.

        pooled_b = sum_{t < lengths_b} ys[t, b] / lengths_b,    or zero for a length of 0

    The sum is accumulated in float32 at least.

    Args:
        ys: `(T, B, y)`, such as the outputs of `unroll`; floating-point or complex.
        lengths: `(B,)` integers from 0 to T; None if all steps are valid. Nothing in the
            padding, NaN included, reaches values or gradients.

    Returns:
        `(B, y)`, in the dtype of `ys`.

    Raises:
        TypeError, ValueError: if `ys` or the lengths are invalid.

    Example:
        >>> import jax.numpy as jnp, jaxrnn
        >>> ys = jnp.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])[..., None]
        >>> jaxrnn.ops.mean_pool(ys, jnp.array([3, 2]))[:, 0].tolist()
        [2.0, 1.5]
    """
    ys, lengths = _checked("mean_pool", ys, lengths)
    wide = ys.astype(state_dtype(ys))
    if lengths is None:
        return jnp.mean(wide, axis=0).astype(ys.dtype)
    total = jnp.sum(jnp.where(_valid(ys, lengths), wide, jnp.zeros_like(wide)), axis=0)
    count = expand_trailing(jnp.maximum(lengths, 1), total.ndim)
    return (total / count.astype(total.dtype)).astype(ys.dtype)


def max_pool(
    ys: Inexact[Array, "T B ..."], lengths: Integer[Array, "B"] | None = None
) -> Inexact[Array, "B ..."]:
    """The largest output over the valid steps of each sequence, for each feature.

        pooled_b = max_{t < lengths_b} ys[t, b],    or zero for a length of 0

    Steps that share the largest output divide its gradient equally, as in `jnp.max`.

    Args:
        ys: `(T, B, y)`, such as the outputs of `unroll`; floating-point.
        lengths: `(B,)` integers from 0 to T; None if all steps are valid. Nothing in the
            padding, NaN included, reaches values or gradients.

    Returns:
        `(B, y)`, in the dtype of `ys`.

    Raises:
        TypeError, ValueError: if `ys` or the lengths are invalid.

    Example:
        >>> import jax.numpy as jnp, jaxrnn
        >>> ys = jnp.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])[..., None]
        >>> jaxrnn.ops.max_pool(ys, jnp.array([3, 2]))[:, 0].tolist()
        [3.0, 2.0]
    """
    ys, lengths = _checked("max_pool", ys, lengths)
    if jnp.iscomplexobj(ys):
        raise TypeError("max_pool: ys are complex, which have no order; give reals.")
    if lengths is None:
        return jnp.max(ys, axis=0)
    lowest = jnp.asarray(-jnp.inf, ys.dtype)
    largest = jnp.max(jnp.where(_valid(ys, lengths), ys, lowest), axis=0)
    return _unless_empty(largest, lengths)


def _checked(owner: str, ys: Any, lengths: Any) -> tuple[jax.Array, jax.Array | None]:
    """`ys` as an array, and the lengths as integers from 0 to T, or None."""
    ys = as_array(owner, "ys", ys)
    if ys.ndim < 2 or 0 in ys.shape[:2]:
        raise ValueError(
            f"{owner}: ys has the shape {ys.shape}; give (T, B, features) with T and B of "
            "at least 1."
        )
    if lengths is None:
        return ys, None
    lengths = check_lengths(lengths, ys.shape[0], ys.shape[1], "ys")
    # inside `jax.jit` the range is not known; a narrow dtype might not hold T
    return ys, jnp.clip(lengths.astype(jnp.arange(1).dtype), 0, ys.shape[0])


def _valid(ys: jax.Array, lengths: jax.Array) -> jax.Array:
    return expand_trailing(valid_steps(lengths, ys.shape[0]), ys.ndim)


def _unless_empty(pooled: jax.Array, lengths: jax.Array) -> jax.Array:
    """Zeros for sequences of length 0."""
    some = expand_trailing(lengths > 0, pooled.ndim)
    return jnp.where(some, pooled, jnp.zeros_like(pooled))
