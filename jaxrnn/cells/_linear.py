"""What cells with a linear recurrence share."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._sizes import check_callable, check_kind, check_sizes
from ..kernels._arrays import spread, state_dtype


def wide(params: Any) -> Any:
    """The dtype of a state: float32 at least, so that long memories do not round away."""
    return state_dtype(*jax.tree.leaves(params))


def complex_state(params: Any) -> Any:
    """The complex dtype with real parts of at least float32."""
    return jnp.complex128 if wide(params) == jnp.float64 else jnp.complex64


def as_complex(re: Array, im: Array, dtype: Any) -> Array:
    """`re + i im`, in a complex dtype."""
    part = jnp.float64 if dtype == jnp.complex128 else jnp.float32
    return jax.lax.complex(re.astype(part), im.astype(part))


def softplus_inverse(y: Array) -> Array:
    """The x of which y is the softplus."""
    return y + jnp.log(-jnp.expm1(-y))


def log_uniform(key: Any, shape: tuple, low: float, high: float, dtype: Any) -> Array:
    """Numbers whose logarithms are evenly spread between those of two bounds."""
    span = jnp.log(high) - jnp.log(low)
    u = jax.random.uniform(key, shape, dtype)
    return jnp.exp(u * span.astype(dtype) + jnp.log(low).astype(dtype))


def ring(key: Any, shape: tuple, r_min: float, r_max: float, dtype: Any) -> Array:
    """`1 - r^2` of radii that are spread by area between two bounds.

    Above 0, and below 1, also where the bounds are 1 and 0: no memory lasts for ever.
    """
    share = jax.random.uniform(key, shape, dtype, 1e-6, 1 - 1e-4)
    return (1 - r_max**2) + (r_max**2 - r_min**2) * share


def rms_norm(x: Array, scale: Array) -> Array:
    """`x / rms(x) * scale`, over the last axis. Zhang & Sennrich 2019, arXiv:1910.07467."""
    x, size = x.astype(wide(x)), x.shape[-1]
    by_rms = jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-5)
    return (x * spread(by_rms, size)).astype(scale.dtype) * scale


def unit(x: Array) -> Array:
    """`x` at length 1, over the last axis, in float32 at least; zero stays zero."""
    x, size = x.astype(wide(x)), x.shape[-1]
    by_length = jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-6)
    return x * spread(by_length, size)


@jax.custom_jvp
def bounded_sqrt(x: Array) -> Array:
    """The square root, whose derivative is taken to be 1000 where it would be more."""
    return jnp.sqrt(x)


@bounded_sqrt.defjvp
def _bounded_sqrt_tangent(primals, tangents):
    (x,), (dx,) = primals, tangents
    slope = 0.5 * jax.lax.rsqrt(jnp.maximum(x, 0.25e-6))
    return jnp.sqrt(x), slope * dx


def real_part(c_re: Array, c_im: Array, h: Array) -> Array:
    """`Re(h C)`, in the dtype of C."""
    return h.real.astype(c_re.dtype) @ c_re - h.imag.astype(c_im.dtype) @ c_im


def check_between(cell: Any, name: str, low: int | float, high: int | float) -> None:
    """A field is a number from `low` to `high`."""
    value = getattr(cell, name)
    call = f"{type(cell).__name__}({name}={value!r})"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{call}: `{name}` is a number.")
    if not low <= value <= high or low == high:
        raise ValueError(f"{call}: `{name}` is a number from {low:.4g} to {high:.4g}.")


def check_heads(cell: Any, name: str) -> None:
    """A size is a multiple of the number of heads."""
    size = getattr(cell, name)
    if size % cell.heads:
        raise ValueError(
            f"{type(cell).__name__}({name}={size}, heads={cell.heads}): the heads share "
            "the units evenly; give a multiple."
        )


def positive(x: Array) -> Array:
    """The g of minimal RNNs: x + 1/2 for x of at least 0, sigmoid(x) below; above 0."""
    return jnp.where(x >= 0, x + 0.5, jax.nn.sigmoid(x))


def check_gates(cell: Any) -> None:
    """Sizes, and initialisers of input weights and biases."""
    check_sizes(cell, "input_size", "hidden_size")
    check_callable(cell, "w_init", "give an initialiser, such as jaxrnn.Glorot().")
    hint = "give an initialiser of biases, such as jaxrnn.ForgetBias(1.0)."
    check_callable(cell, "b_init", hint, method="bias")
    check_kind(cell, "use_bias", cell.use_bias, bool, "give True or False.")
