"""Layer normalisation of one vector. Ba, Kiros, Hinton 2016, arXiv:1607.06450."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arrays import state_dtype
from .._typing import DType


class NormParams(NamedTuple):
    """Gain and shift of a normalised vector."""

    scale: Float[Array, "n"]
    shift: Float[Array, "n"]


def norm_init(size: int, dtype: DType) -> NormParams:
    """Gain one, shift zero."""
    return NormParams(jnp.ones(size, dtype), jnp.zeros(size, dtype))


def layer_norm(
    params: NormParams, v: Float[Array | np.ndarray, "n"]
) -> Float[Array, "n"]:
    """`scale (v - mean) / sqrt(variance + 1e-5) + shift`, sums in at least float32."""
    dtype = params.scale.dtype
    v = v.astype(state_dtype(v))
    centred = v - jnp.mean(v)
    normalised = centred * jax.lax.rsqrt(jnp.mean(centred**2) + 1e-5)
    return params.scale * normalised.astype(dtype) + params.shift
