"""Small functions of arrays and dtypes that every room of the library uses."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def float_dtype() -> Any:
    """JAX's default float dtype: float64 if `jax_enable_x64` is on, float32 otherwise."""
    return jnp.zeros(()).dtype


def state_dtype(*trees: Any) -> Any:
    """The common dtype of all arrays in the trees, and at least float32.

    A state keeps this dtype so that a long memory does not round away.
    """
    with jax.numpy_dtype_promotion("standard"):
        return jnp.promote_types(jnp.result_type(*jax.tree.leaves(trees)), jnp.float32)


def as_complex(re: Array, im: Array, dtype: Any) -> Array:
    """`re + i im`, in a complex dtype."""
    part = jnp.float64 if dtype == jnp.complex128 else jnp.float32
    return jax.lax.complex(re.astype(part), im.astype(part))


def broadcast_by_matmul(x: jax.Array, size: int, axis: int = -1) -> jax.Array:
    """`x`, of size 1 along `axis`, which is -1 or -2, repeated `size` times along it.

    The repetition is a matmul with ones, and so is its derivative. The derivative of an
    ordinary broadcast is a sum, which takes XLA:CPU up to twenty times as long.
    """
    row = jnp.ones((1, size), x.dtype)
    factors = (x, row) if axis == -1 else (row.T, x)
    return jnp.matmul(*factors, precision=jax.lax.Precision.HIGHEST)


def expand_trailing(mask: jax.Array, ndim: int) -> jax.Array:
    """The mask with axes of size 1 appended, so that it broadcasts against `ndim` axes."""
    return mask.reshape(mask.shape + (1,) * (ndim - mask.ndim))


def add_bias(z: Any, b: Any) -> Any:
    """`z + b`, or `z` if there is no bias."""
    return z if b is None else z + b
