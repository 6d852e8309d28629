"""Functions that several cells share: initialisation, checks, parts of equations."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from .._arrays import broadcast_by_matmul, float_dtype, state_dtype
from .._validate import check_callable, check_kind, check_sizes
from ..initializers import Glorot, Identity, Orthogonal


def complex_state(params: Any) -> Any:
    """The complex dtype of a state: complex128 for float64 parameters, else complex64."""
    return jnp.complex128 if state_dtype(params) == jnp.float64 else jnp.complex64


def softplus_inverse(y: Array) -> Array:
    """The x with softplus(x) = y."""
    # log(exp(y) - 1), in a form that does not overflow for large y
    return y + jnp.log(-jnp.expm1(-y))


def log_uniform(key: Any, shape: tuple, low: float, high: float, dtype: Any) -> Array:
    """Random numbers whose logarithms are uniform between log(low) and log(high)."""
    span = jnp.log(high) - jnp.log(low)
    u = jax.random.uniform(key, shape, dtype)
    return jnp.exp(u * span.astype(dtype) + jnp.log(low).astype(dtype))


def ring(key: Any, shape: tuple, r_min: float, r_max: float, dtype: Any) -> Array:
    """`1 - r^2` for random radii r, uniform by area over a ring.

    The result is above 0 and below 1 even if the bounds are 0 and 1, so that no memory
    lasts for ever.
    """
    share = jax.random.uniform(key, shape, dtype, 1e-6, 1 - 1e-4)
    return (1 - r_max**2) + (r_max**2 - r_min**2) * share


def rms_norm(x: Array, scale: Array) -> Array:
    """`x / rms(x) * scale`, over the last axis. Zhang & Sennrich 2019, arXiv:1910.07467."""
    x, size = x.astype(state_dtype(x)), x.shape[-1]
    by_rms = jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-5)
    return (x * broadcast_by_matmul(by_rms, size)).astype(scale.dtype) * scale


def l2_normalize(x: Array) -> Array:
    """`x` scaled to length 1 over the last axis, in at least float32; zero stays zero."""
    x, size = x.astype(state_dtype(x)), x.shape[-1]
    by_length = jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-6)
    return x * broadcast_by_matmul(by_length, size)


@jax.custom_jvp
def bounded_sqrt(x: Array) -> Array:
    """The square root, with its derivative bounded at 1000."""
    return jnp.sqrt(x)


@bounded_sqrt.defjvp
def _bounded_sqrt_tangent(primals, tangents):
    (x,), (dx,) = primals, tangents
    # the exact slope is infinite at 0, where its product with a zero tangent would be NaN
    slope = 0.5 * jax.lax.rsqrt(jnp.maximum(x, 0.25e-6))
    return jnp.sqrt(x), slope * dx


def real_part(c_re: Array, c_im: Array, h: Array) -> Array:
    """`Re(h C)`, in the dtype of C."""
    return h.real.astype(c_re.dtype) @ c_re - h.imag.astype(c_im.dtype) @ c_im


def min_rnn_g(x: Array) -> Array:
    """The g of minimal RNNs: x + 1/2 if x >= 0, else sigmoid(x). It is always positive."""
    return jnp.where(x >= 0, x + 0.5, jax.nn.sigmoid(x))


_INITIALIZER = "give an initializer, such as jaxrnn.initializers.Glorot()."
_BIAS_INITIALIZER = (
    "give an initializer of biases, such as jaxrnn.initializers.ForgetBias(1.0)."
)


def check_gates(cell: Any) -> None:
    """Checks the sizes, and the initializers of input weights and biases."""
    check_sizes(cell, "input_size", "hidden_size")
    check_callable(cell, "w_init", _INITIALIZER)
    check_callable(cell, "b_init", _BIAS_INITIALIZER, method="bias")
    check_kind(cell, "use_bias", cell.use_bias, bool, "give True or False.")


def blocks(init: Any, key: Key[Array, ""], shape: tuple[int, int], gates: int) -> Array:
    """The weight blocks of all gates, concatenated: `(rows, gates * columns)`."""
    keys = jax.random.split(key, gates)
    return jnp.concatenate([init(k, shape, float_dtype()) for k in keys], axis=-1)


def dense_gates(
    cell: Any, key: Key[Array, ""], *gates: str
) -> tuple[Array, Array, Array | None]:
    """`w (x, g)`, `u (h, g)` and `b (g,)` of a cell, from its sizes and initializers."""
    x, h = cell.input_size, cell.hidden_size
    k_w, k_u, k_b = jax.random.split(key, 3)
    return (
        blocks(cell.w_init, k_w, (x, h), len(gates)),
        blocks(cell.u_init, k_u, (h, h), len(gates)),
        biases(cell, k_b, *gates),
    )


def biases(cell: Any, key: Key[Array, ""], *gates: str) -> Array | None:
    """`b (g,)` of a cell, from its initializer; None if the cell has no bias."""
    if not cell.use_bias:
        return None
    return cell.b_init.bias(key, gates, cell.hidden_size, float_dtype())


def check_dense(cell: Any, *sizes: str) -> None:
    """Checks the sizes and initializers of a cell with W, U and b."""
    check_sizes(cell, "input_size", "hidden_size", *sizes)
    for name in ("w_init", "u_init"):
        check_callable(cell, name, _INITIALIZER)
    check_callable(cell, "b_init", _BIAS_INITIALIZER, method="bias")
    check_kind(cell, "use_bias", cell.use_bias, bool, "give True or False.")


def check_vectors(cell: Any) -> None:
    """Checks a cell whose `u` is one vector per gate, not a matrix."""
    check_dense(cell)
    if isinstance(cell.u_init, Glorot | Orthogonal | Identity):
        raise TypeError(
            f"{type(cell).__name__}(u_init={cell.u_init}): u is a vector for each gate, "
            "but this initializer only makes matrices; give "
            "jaxrnn.initializers.SmallNormal()."
        )
