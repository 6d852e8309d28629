"""`h_t = a_t h_{t-1} + b_t`, element by element, with hand-written derivatives.

The states solve a linear system whose matrix is unit lower bidiagonal, so JAX's
`custom_linear_solve` gives all derivatives. The tangent is the same recurrence with another
input,

    h'_t = a_t h'_{t-1} + (a'_t h_{t-1} + b'_t)

and the cotangents are one reverse scan, l_t = g_t + a_{t+1} l_{t+1}, from which
da_t = l_t h_{t-1} and db_t = l_t. The only residuals are the states and `a`.

A reset is a cut: `jnp.where` selects zero instead of the state before it, because
multiplying by zero would let NaN through. The derivative is selected in the same way.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Inexact

from .._arrays import expand_trailing, previous_states, state_dtype
from .._sharding import aligned
from ._checks import arrays, as_resets


def diag_scan(
    a: Inexact[Array, "T ..."],
    b: Inexact[Array, "T ..."],
    initial: Inexact[Array, "..."] | None = None,
    *,
    resets: Bool[Array, "T ..."] | None = None,
    reverse: bool = False,
) -> tuple[Inexact[Array, "..."], Inexact[Array, "T ..."]]:
    """Element-wise linear recurrence, real or complex.

        h_t = a_t h_{t-1} + b_t,    t = 1 ... T

    The state and the results are at least float32, whatever the dtypes of the inputs.
    Forward and reverse mode of any order work; the backward pass is a single reverse scan.

    Args:
        a: `(T, ...)`, such as `(T, B, h)`: the decays, floating-point or complex.
        b: `(T, ...)`, with the shape of `a`: the inputs.
        initial: `(...)`, the state before the first step; None for zero.
        resets: booleans over the first axes of `a`, such as `(T, B)`: True where a step
            starts from zero instead of the state before it.
        reverse: True runs from the last step to the first; `initial` is then the state
            after the last one.

    Returns:
        `(final, states)`: the state after the last step taken, `(...)`, and the states
        after every step, `(T, ...)`.

    Raises:
        TypeError, ValueError: if the arrays do not match each other.

    Example:
        >>> import jax.numpy as jnp, jaxrnn
        >>> a, b = jnp.full((4, 1), 0.5), jnp.ones((4, 1))
        >>> final, states = jaxrnn.ops.diag_scan(a, b)
        >>> states[:, 0].tolist()
        [1.0, 1.5, 1.75, 1.875]

    Reference: Martin & Cundy 2018, arXiv:1709.04057.
    """
    a, b, initial = arrays("diag_scan", {"a": a, "b": b, "initial": initial}, reverse)
    resets = as_resets("diag_scan", resets, b.shape)
    given = (a, b) if initial is None else (a, b, initial)
    dtype = state_dtype(*given)
    a, b = a.astype(dtype), b.astype(dtype)
    start = jnp.zeros_like(b[0]) if initial is None else initial.astype(dtype)
    states = linear_recurrence(a, b, start, resets, reverse=reverse)
    return states[0 if reverse else -1], states


class Loop(NamedTuple):
    """One implementation of the recurrence, and of its adjoint.

    Attributes:
        states: `(a, b, start, cuts, reverse) -> states`.
        adjoint: `(a, g, cuts, reverse) -> (m, l)`, which runs against the direction of the
            recurrence: l_t = g_t + m_{t+1} with m_t = a_t l_t. The returned m is the last
            one, the cotangent of `start`.

    `cuts` has as many dimensions as `a`: True where a step does not read the state before
    it; or None.
    """

    states: Callable[[Array, Array, Array, Any, bool], Array]
    adjoint: Callable[[Array, Array, Any, bool], tuple[Array, Array]]


def linear_recurrence(
    a: Array,
    b: Array,
    start: Array,
    resets: Array | None = None,
    *,
    reverse: bool = False,
    loop: Loop | None = None,
) -> Array:
    """The states of `diag_scan`, for arrays of one dtype, computed by `loop`."""
    loop = loop or by_platform
    a, b, start, resets = aligned((a, b, start, resets))
    cuts = None if resets is None else expand_trailing(resets, a.ndim)
    start, b = _tied(start, b[0]), _tied(b, start[None])

    # the linear system M x = (start, b) in x = (start, states), where `matvec` is M:
    # start = start, h_t - a_t h_{t-1} = b_t. JAX differentiates `matvec` for the derivative
    # by `a`, and solves with M for tangents and with M^T for cotangents.
    def matvec(x):
        start, states = x
        return start, states - a * uncut(
            cuts, previous_states(start, states, reverse=reverse)
        )

    def solve(_, rhs):
        return rhs[0], loop.states(a, rhs[1], rhs[0], cuts, reverse)

    def transpose_solve(_, ct):
        m, cotangents = loop.adjoint(a, ct[1], cuts, reverse)
        return ct[0] + m, cotangents

    solved = jax.lax.custom_linear_solve(matvec, (start, b), solve, transpose_solve)
    return solved[1]


def _tied(x: Array, other: Array) -> Array:
    """`x`, as a value that depends on `other` as far as autodiff can tell.

    The transpose of `custom_linear_solve` needs all of the right-hand side to be
    differentiated, or none of it. The compiler removes the select.
    """
    return jnp.where(jnp.zeros(x.shape, bool), other, x)


def uncut(cuts: Array | None, x: Array, cut: float = 0.0) -> Array:
    """`x`, with `cut` in place of its entries where there is a cut."""
    return x if cuts is None else jnp.where(cuts, jnp.asarray(cut, x.dtype), x)


def _states_sequential(a, b, start, cuts, reverse):
    def body(h, step):
        a, b, cuts = step
        h = a * uncut(cuts, h) + b
        return h, h

    return jax.lax.scan(body, start, (a, b, cuts), reverse=reverse)[1]


def _adjoint_sequential(a, g, cuts, reverse):
    def body(m, step):
        a, g, cuts = step
        cotangent = g + m
        return uncut(cuts, a * cotangent), cotangent

    start = jnp.zeros_like(g[0])
    return jax.lax.scan(body, start, (a, g, cuts), reverse=not reverse)


def _states_parallel(a, b, start, cuts, reverse):
    def after(first, second):
        (a_1, b_1, cuts_1), (a_2, b_2, cuts_2) = first, second
        cuts = None if cuts_1 is None else cuts_1 | cuts_2
        return a_2 * uncut(cuts_2, a_1), a_2 * uncut(cuts_2, b_1) + b_2, cuts

    # the decay of a cut step is never used, but could be NaN: take zero instead
    steps = (uncut(cuts, a), b, cuts)
    decays, inputs, cuts = jax.lax.associative_scan(after, steps, reverse=reverse)
    return decays * uncut(cuts, start[None]) + inputs


def _adjoint_parallel(a, g, cuts, reverse):
    # m_t = a_t m_{t+1} + a_t g_t: the same recurrence, in the other direction
    start = jnp.zeros_like(g[0])
    m = _states_parallel(a, uncut(cuts, a * g), start, cuts, not reverse)
    return m[-1 if reverse else 0], g + previous_states(start, m, reverse=not reverse)


sequential = Loop(_states_sequential, _adjoint_sequential)
"""Runs one step after the other, in one pass over memory, which bounds the time on a CPU."""

parallel = Loop(_states_parallel, _adjoint_parallel)
"""Runs a parallel scan, about 2 log2 T passes over memory. Blelloch 1990, CMU-CS-90-190."""


def _by_platform(choose: Callable[[Loop], Callable]) -> Callable:
    # the platform is known only at lowering; `reverse` is not an array, so it is bound
    # first
    def chosen(*args):
        *arrays, reverse = args
        cpu, default = (
            partial(choose(loop), reverse=reverse) for loop in (sequential, parallel)
        )
        return jax.lax.platform_dependent(*arrays, cpu=cpu, default=default)

    return chosen


by_platform = Loop(
    _by_platform(lambda loop: loop.states), _by_platform(lambda loop: loop.adjoint)
)
"""Runs sequentially on a CPU, and in parallel where every step costs a kernel launch."""
