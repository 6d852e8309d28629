"""`h_t = a_t h_{t-1} + b_t`, element by element, with its derivative by hand.

The states solve a linear system, unit lower bidiagonal, so JAX's `custom_linear_solve`
has every derivative of them: the tangent is the same recurrence driven by another input,

    h'_t = a_t h'_{t-1} + (a'_t h_{t-1} + b'_t)

and the cotangents are one scan backwards, l_t = g_t + a_{t+1} l_{t+1}, from which
da_t = l_t h_{t-1} and db_t = l_t. Nothing but the states is kept.

A reset is a cut: the state before it is selected away, not multiplied by zero, since zero
times NaN is NaN. Its derivative is selected away as well.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Inexact

from .._arrays import expand_trailing, state_dtype
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
    """A linear recurrence that is element-wise in its state, real or complex.

        h_t = a_t h_{t-1} + b_t,    t = 1 ... T

    The state is float32 at least, whatever the inputs are, and so is what is returned.
    Every derivative of JAX goes through it; the reverse one is a single scan backwards.

    Args:
        a: `(T, ...)`, such as `(T, B, h)`: the decays, floating-point or complex.
        b: `(T, ...)`, of the shape of `a`: the inputs.
        initial: `(...)`, the state before the first step; None for zero.
        resets: booleans over the first axes of `a`, such as `(T, B)`: True where a step
            starts from zero instead of the state before it.
        reverse: from the last step to the first; the initial state stands after the end.

    Returns:
        `(final, states)`: the state after the last step taken, `(...)`, and the states
        after every step, `(T, ...)`.

    Raises:
        TypeError, ValueError: for arrays that do not fit each other.

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
    """One way to run the recurrence, `(a, b, start, cuts, reverse) -> states`, and its adjoint.

    The adjoint, `(a, g, cuts, reverse) -> (m, l)`, runs against `reverse`: l_t = g_t + m_{t+1}
    with m_t = a_t l_t, and gives the last m, which is what the state before gets. `cuts` are
    booleans of the dimensions of `a`, True where a step does not read the state before it,
    or None.
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
    """The states of `diag_scan`, of arrays of one dtype; `loop` says how they are made."""
    loop = loop or by_platform
    a, b, start, resets = aligned((a, b, start, resets))
    cuts = None if resets is None else expand_trailing(resets, a.ndim)
    start, b = _tied(start, b[0]), _tied(b, start[None])

    def residual(x):
        start, states = x
        return start, states - a * uncut(cuts, before(reverse, states, start))

    def solve(_, rhs):
        return rhs[0], loop.states(a, rhs[1], rhs[0], cuts, reverse)

    def transpose_solve(_, ct):
        m, cotangents = loop.adjoint(a, ct[1], cuts, reverse)
        return ct[0] + m, cotangents

    solved = jax.lax.custom_linear_solve(residual, (start, b), solve, transpose_solve)
    return solved[1]


def _tied(x: Array, other: Array) -> Array:
    """`x`, in a way that has it differentiated where `other` is.

    The transpose of a linear solve asks for all of its right side or none. The compiler
    removes the choice.
    """
    return jnp.where(jnp.zeros(x.shape, bool), other, x)


def before(reverse: bool, states: Array, start: Array) -> Array:
    """The state before each step."""
    # concatenate: `.at[1:].set` is miscompiled on CPUs (openxla/xla#49176)
    if reverse:
        return jnp.concatenate([states[1:], start[None]])
    return jnp.concatenate([start[None], states[:-1]])


def uncut(cuts: Array | None, x: Array, cut: float = 0.0) -> Array:
    """`x`, and `cut` where there is one."""
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

    # what a step that is cut does to the state before it is never asked for
    steps = (uncut(cuts, a), b, cuts)
    decays, inputs, cuts = jax.lax.associative_scan(after, steps, reverse=reverse)
    return decays * uncut(cuts, start[None]) + inputs


def _adjoint_parallel(a, g, cuts, reverse):
    start = jnp.zeros_like(g[0])
    m = _states_parallel(a, uncut(cuts, a * g), start, cuts, not reverse)
    return m[-1 if reverse else 0], g + before(not reverse, m, start)


sequential = Loop(_states_sequential, _adjoint_sequential)
"""One step after the other, in one pass over memory: what bounds a CPU."""

parallel = Loop(_states_parallel, _adjoint_parallel)
"""By doubling, in about 2 log2 T parallel passes. Blelloch 1990, CMU-CS-90-190."""


def _by_platform(choose: Callable[[Loop], Callable]) -> Callable:
    def chosen(*args):
        *arrays, reverse = args
        cpu, default = (
            partial(choose(way), reverse=reverse) for way in (sequential, parallel)
        )
        return jax.lax.platform_dependent(*arrays, cpu=cpu, default=default)

    return chosen


by_platform = Loop(
    _by_platform(lambda way: way.states), _by_platform(lambda way: way.adjoint)
)
"""In turn on a CPU; by doubling where every step costs a launch."""
