"""The specification of every kernel, in plain JAX: slow, but the kernels must equal it.

    z_t = x_t W + b
    h_t, c_t = step(z_t, state_{t-1}, U, vectors)

At a reset, a step begins with the state `start`. A step that is not valid keeps the state with
which it begins, and its output is zero. `step` is the function below with the kernel's name.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import relu, sigmoid
from jaxtyping import Array, Bool, Float

from .._arrays import expand_trailing


class Operands(NamedTuple):
    """The arrays of one layer; W, U and b have G gates of H units side by side."""

    x: Float[Array, "T B I"]
    state: tuple[Float[Array, "B H"], ...]
    start: tuple[Float[Array, "H"], ...]
    w: Float[Array, "I GH"]
    u: Float[Array, "H GH"] | None
    b: Float[Array, "GH"]
    vectors: tuple[Float[Array, "H"], ...] = ()


class StepMask(NamedTuple):
    """The steps that run (None: all), and the steps that begin at `start` (None: no step)."""

    valid: Bool[Array, "T B"] | None = None
    reset: Bool[Array, "T B"] | None = None


Step = Callable[[Array, tuple[Array, ...], Any, tuple[Array, ...]], tuple[Array, ...]]


def layer(step: Step, operands: Operands, mask: StepMask) -> tuple[tuple, Array]:
    """`(state, ys)` of a layer by one `lax.scan`, which JAX can differentiate in any way."""

    def body(state, inputs):
        x, valid, reset = inputs
        z = x @ operands.w + operands.b[None]
        begin = _where(reset, operands.start, state)
        after = step(z, begin, operands.u, operands.vectors)
        y = after[0] if valid is None else jnp.where(valid[:, None], after[0], 0)
        return after if valid is None else _where(valid, after, begin), y

    return jax.lax.scan(body, operands.state, (operands.x, *mask))


def _where(mask: Array | None, yes: tuple, no: tuple) -> tuple:
    if mask is None:
        return no
    return tuple(
        jnp.where(mask[:, None], jnp.broadcast_to(y, n.shape), n)
        for y, n in zip(yes, no, strict=True)
    )


def lstm(z, state, u, vectors):
    """The LSTM, with gates i, f, g, o side by side in z and U.

    c' = sigmoid(f) c + sigmoid(i) tanh(g),    h' = sigmoid(o) tanh(c')
    """
    del vectors
    h, c = state
    i, f, g, o = jnp.split(z + h @ u, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def lstm_coupled(z, state, u, vectors):
    """The LSTM with gates i, g, o; sigmoid(f) = 1 - sigmoid(i) = sigmoid(-i)."""
    del vectors
    h, c = state
    i, g, o = jnp.split(z + h @ u, 3, axis=-1)
    c = sigmoid(-i) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def peephole_lstm(z, state, u, vectors):
    """The LSTM with peepholes: gates i, f, g, o, and vectors p_i, p_f, p_o.

    c' = sigmoid(f + p_f c) c + sigmoid(i + p_i c) tanh(g)
    h' = sigmoid(o + p_o c') tanh(c')
    """
    h, c = state
    p_i, p_f, p_o = (p[None] for p in vectors)
    i, f, g, o = jnp.split(z + h @ u, 4, axis=-1)
    c_new = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * jnp.tanh(g)
    return sigmoid(o + p_o * c_new) * jnp.tanh(c_new), c_new


def gru_after(z, state, u, vectors):
    """The GRU with gates r, z, n side by side in z and U, and with the vector b_n.

    n = tanh(z_n + r (h U_n + b_n)),    h' = (1 - z) n + z h
    """
    (h,), (b_n,) = state, vectors
    z_r, z_z, z_n = jnp.split(z, 3, axis=-1)
    h_r, h_z, h_n = jnp.split(h @ u, 3, axis=-1)
    r, z = sigmoid(z_r + h_r), sigmoid(z_z + h_z)
    n = jnp.tanh(z_n + r * (h_n + b_n[None]))
    return ((1 - z) * n + z * h,)


def gru_before(z, state, u, vectors):
    """The GRU with n = tanh(z_n + (r h) U_n),    h' = (1 - z) n + z h."""
    del vectors
    (h,) = state
    size = h.shape[-1]
    gates = sigmoid(z[:, : 2 * size] + h @ u[:, : 2 * size])
    r, keep = jnp.split(gates, 2, axis=-1)
    n = jnp.tanh(z[:, 2 * size :] + (r * h) @ u[:, 2 * size :])
    return ((1 - keep) * n + keep * h,)


def elman_tanh(z, state, u, vectors):
    """h' = tanh(z + h U)."""
    del vectors
    (h,) = state
    return (jnp.tanh(z + h @ u),)


def elman_relu(z, state, u, vectors):
    """h' = max(z + h U, 0)."""
    del vectors
    (h,) = state
    return (relu(z + h @ u),)


def indrnn_tanh(z, state, u, vectors):
    """h' = tanh(z + v h), with a vector v in place of U."""
    del u
    (h,), (v,) = state, vectors
    return (jnp.tanh(z + v[None] * h),)


def indrnn_relu(z, state, u, vectors):
    """h' = max(z + v h, 0), with a vector v in place of U."""
    del u
    (h,), (v,) = state, vectors
    return (relu(z + v[None] * h),)


def mgu(z, state, u, vectors):
    """The MGU with gates f, n: n = tanh(z_n + (f h) U_n),    h' = (1 - f) h + f n."""
    del vectors
    (h,) = state
    (z_f, z_n), (u_f, u_n) = jnp.split(z, 2, axis=-1), jnp.split(u, 2, axis=-1)
    f = sigmoid(z_f + h @ u_f)
    n = jnp.tanh(z_n + (f * h) @ u_n)
    return ((1 - f) * h + f * n,)


def linear(a, b, h0, resets=None):
    """The states h_t = a_t h_{t-1} + b_t, for a and b `(T, ...)` and h0 `(...)`.

    `resets` are booleans over the first axes of a; at a reset, h_{t-1} counts as zero.
    """

    def body(h, step):
        a, b, reset = step
        h = h if reset is None else jnp.where(expand_trailing(reset, h.ndim), 0, h)
        h = a * h + b
        return h, h

    return jax.lax.scan(body, h0, (a, b, resets))[1]
