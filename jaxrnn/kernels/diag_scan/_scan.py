"""`h_t = a_t h_{t-1} + b_t`, element by element, with its derivative by hand.

The tangent of the recurrence is the same recurrence, driven by another input:

    h'_t = a_t h'_{t-1} + (a'_t h_{t-1} + b'_t)

so that transposing it gives the one reverse scan of backpropagation, and nothing but the
states need be kept: Martin & Cundy 2018, arXiv:1709.04057, section 2.3.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Inexact

from .._arrays import (
    as_array,
    as_resets,
    check_shape,
    checked,
    state_dtype,
    trailing,
)


def _check(a, b, initial, resets, reverse):
    a, b = as_array("diag_scan", "a", a), as_array("diag_scan", "b", b)
    if b.ndim == 0 or b.shape[0] == 0:
        raise ValueError(
            f"diag_scan: b has the shape {b.shape}, which means no steps; time is the "
            "first axis, of at least 1."
        )
    check_shape("diag_scan", "a", a, b.shape)
    if initial is not None:
        initial = as_array("diag_scan", "initial", initial)
        check_shape("diag_scan", "initial", initial, b.shape[1:])
    if resets is not None:
        resets = as_resets("diag_scan", resets, b.shape)
    if not isinstance(reverse, bool):
        raise TypeError(f"diag_scan: reverse is {reverse!r}; give True or False.")
    return {"a": a, "b": b, "initial": initial, "resets": resets, "reverse": reverse}


@checked(_check)
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
        >>> final, states = jaxrnn.diag_scan(a, b)
        >>> states[:, 0].tolist()
        [1.0, 1.5, 1.75, 1.875]

    Reference: Martin & Cundy 2018, arXiv:1709.04057.
    """
    given = (a, b) if initial is None else (a, b, initial)
    dtype = state_dtype(*given)
    a, b = a.astype(dtype), b.astype(dtype)
    if resets is not None:
        a = jnp.where(trailing(resets, a.ndim), jnp.zeros_like(a), a)
    start = jnp.zeros_like(b[0]) if initial is None else initial.astype(dtype)
    states = _states(reverse, a, b, start)
    return states[0 if reverse else -1], states


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _states(reverse: bool, a: Array, b: Array, start: Array) -> Array:
    return _loop(reverse, a, b, start)


@_states.defjvp
def _states_tangent(reverse, primals, tangents):
    a, b, start = primals
    da, db, d_start = tangents
    states = _states(reverse, a, b, start)
    driven = da * _before(reverse, states, start) + db
    return states, _loop(reverse, a, driven, d_start)


def _before(reverse: bool, states: Array, start: Array) -> Array:
    """The state before each step."""
    # concatenate: `.at[1:].set` is miscompiled on CPUs
    if reverse:
        return jnp.concatenate([states[1:], start[None]])
    return jnp.concatenate([start[None], states[:-1]])


def _loop(reverse: bool, a: Array, b: Array, start: Array) -> Array:
    def body(h, ab):
        h = ab[0] * h + ab[1]
        return h, h

    return jax.lax.scan(body, start, (a, b), reverse=reverse)[1]
