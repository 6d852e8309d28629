"""Linear recurrences `d_t = A_t d_{t-1} + b_t` from zero, with diagonal or matrix A.

With matrices, CPUs run a loop, since a parallel scan does more work in total; other
platforms run a parallel scan (Blelloch 1990) over
`(A_2, b_2) (A_1, b_1) = (A_2 A_1, A_2 b_1 + b_2)`.

Damping multiplies each step by the gain of a Kalman filter. The filter takes the current
iterate as a measurement of variance 1 / damping, with process noise of variance 1. Its
covariances are computed by a parallel scan as well (Sarkka & Garcia-Fernandez 2021,
arXiv:1905.13002, without the means).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._arrays import expand_trailing, previous_states
from ...ops import diag_scan


def diagonal(
    a: Float[Array, "T *B n"],
    b: Float[Array, "T *B n"],
    resets: Bool[Array, "T *B"] | None = None,
) -> Float[Array, "T *B n"]:
    """`d_t = a_t d_{t-1} + b_t`, element-wise, from zero at the start and at resets."""
    return diag_scan(a, b, resets=resets)[1]


def matrix(
    a: Float[Array, "T *B n n"],
    b: Float[Array, "T *B n"],
    resets: Bool[Array, "T ..."] | None = None,
) -> Float[Array, "T *B n"]:
    """`d_t = a_t d_{t-1} + b_t` with a matrix for each step and sequence.

    It starts from zero, and from zero again at resets.
    """
    return jax.lax.platform_dependent(
        a, b, resets, cpu=sequential_matrix, default=parallel_matrix
    )


def sequential_matrix(a: Array, b: Array, resets: Array | None = None) -> Array:
    """`matrix` by a loop."""

    def body(d, step):
        a, b, reset = step
        d = apply(a, _uncut(reset, d)) + b
        return d, d

    return jax.lax.scan(body, jnp.zeros_like(b[0]), (a, b, resets))[1]


def parallel_matrix(a: Array, b: Array, resets: Array | None = None) -> Array:
    """`matrix` by a parallel scan."""

    def combine(one, two):
        (a_1, b_1, cut_1), (a_2, b_2, cut_2) = one, two
        cut = None if cut_1 is None else cut_1 | cut_2
        a_1, b_1 = _uncut(cut_2, a_1), _uncut(cut_2, b_1)
        return a_2 @ a_1, apply(a_2, b_1) + b_2, cut

    return jax.lax.associative_scan(combine, (_uncut(resets, a), b, resets))[1]


def _uncut(resets: Array | None, x: Array) -> Array:
    """`x`, with zero at resets. Selected, not multiplied, since `x` may be NaN there."""
    return x if resets is None else jnp.where(expand_trailing(resets, x.ndim), 0, x)


def apply(a: Float[Array, "*B n n"], d: Float[Array, "*B n"]) -> Float[Array, "*B n"]:
    """Matrix times vector, for each step and sequence."""
    return jnp.einsum("...ij,...j->...i", a, d)


def diagonal_gains(a: Float[Array, "T *B n"], damping: float) -> Float[Array, "T *B n"]:
    """Each unit's gain, `1 / (1 + damping P_t)`, with P_t the predicted variance.

    P_t = a_t^2 C_{t-1} + 1,    C_t = P_t / (1 + damping P_t),    C_0 = 0
    """
    share = 1 / (1 + damping)
    elements = (
        _first_zero(share * a),  # the initial state has no variance
        jnp.full_like(a, share),
        _first_zero(damping * share * a**2),
    )

    def combine(one, two):
        (a_1, c_1, j_1), (a_2, c_2, j_2) = one, two
        w = 1 / (1 + c_1 * j_2)
        return a_2 * w * a_1, a_2 * w * c_1 * a_2 + c_2, a_1 * w * j_2 * a_1 + j_1

    _, c, _ = jax.lax.associative_scan(combine, elements)
    predicted = a**2 * previous_states(jnp.zeros_like(c[0]), c) + 1
    return 1 / (1 + damping * predicted)


def matrix_gains(
    a: Float[Array, "T *B n n"], damping: float
) -> Float[Array, "T *B n n"]:
    """The gain of each step, `(I + damping P_t)^-1`, with P_t the predicted covariance.

    P_t = A_t C_{t-1} A_t^T + I,   C_t = P_t (I + damping P_t)^-1,   C_0 = 0
    """
    share, eye = 1 / (1 + damping), jnp.eye(a.shape[-1], dtype=a.dtype)
    inverse = lambda m: jnp.linalg.inv(jnp.broadcast_to(eye, m.shape) + m)
    c = jnp.broadcast_to(share * eye, a.shape)
    elements = (_first_zero(share * a), c, _first_zero(damping * share * _t(a) @ a))

    def combine(one, two):
        (a_1, c_1, j_1), (a_2, c_2, j_2) = one, two
        w = inverse(c_1 @ j_2)
        return (
            a_2 @ w @ a_1,
            a_2 @ w @ c_1 @ _t(a_2) + c_2,
            _t(a_1) @ j_2 @ w @ a_1 + j_1,
        )

    _, c, _ = jax.lax.associative_scan(combine, elements)
    predicted = a @ previous_states(jnp.zeros_like(c[0]), c) @ _t(a) + jnp.broadcast_to(
        eye, a.shape
    )
    return inverse(damping * predicted)


def _t(a: Array) -> Array:
    return a.swapaxes(-1, -2)


def _first_zero(x: Array) -> Array:
    return jnp.concatenate([jnp.zeros_like(x[:1]), x[1:]])
