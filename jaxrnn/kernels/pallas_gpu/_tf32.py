"""Rounding to TensorFloat-32, the float32 of tensor cores with 10 bits of mantissa."""

import jax
import jax.numpy as jnp
from jax import lax


def rounded(x: jax.Array) -> jax.Array:
    """float32 rounded to the nearest TensorFloat-32; other dtypes as they are.

    The tensor cores ignore the last 13 bits (PTX ISA, "wgmma.mma_async"), which would make
    every operand smaller: a bias that a recurrence repeats in each step.
    """
    if x.dtype != jnp.float32:
        return x
    bits = lax.bitcast_convert_type(x, jnp.int32)
    half, kept = jnp.int32(0x1000), jnp.int32(-0x2000)
    nearest = lax.bitcast_convert_type((bits + half) & kept, jnp.float32)
    # a carry out of the mantissa of NaN could make it a number
    return lax.select(x == x, nearest, x)
