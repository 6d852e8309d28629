"""`h_t = a_t h_{t-1} + b_t` for positive a, b and h, all of them as logarithms.

The derivative of a logarithm of a sum is a weighted mean of derivatives. With p_t the old
state's share of the sum,

    d log h_t = p_t (d log a_t + d log h_{t-1}) + (1 - p_t) d log b_t,
    p_t = exp(log a_t + log h_{t-1} - log h_t)

so the tangent is a linear recurrence, and its decays p_t are between 0 and 1. Resets are
cuts, as in `diag_scan`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._arrays import expand_trailing, previous_states, state_dtype
from ._checks import as_resets, real_arrays
from ._diag_scan import linear_recurrence, uncut


def log_diag_scan(
    log_a: Float[Array, "T ..."],
    log_b: Float[Array, "T ..."],
    log_initial: Float[Array, "..."] | None = None,
    *,
    resets: Bool[Array, "T ..."] | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "..."], Float[Array, "T ..."]]:
    """Linear recurrence of positive numbers, given and returned as logarithms.

        log h_t = log(exp(log a_t + log h_{t-1}) + exp(log b_t)),    t = 1 ... T

    Nothing overflows, however large or small the states become. The state and the results
    are at least float32, whatever the dtypes of the inputs. Heinsen uses cumulative sums
    over all of time, which lose digits as T grows; here the recurrence runs step by step on
    a CPU, and as a parallel scan elsewhere.

    Args:
        log_a: `(T, ...)`, such as `(T, B, h)`: logarithms of the decays, floating-point.
        log_b: `(T, ...)`, with the shape of `log_a`: logarithms of the inputs; `-inf` for
            an input of zero.
        log_initial: `(...)`, the logarithm of the state before the first step; None for
            a state of zero.
        resets: booleans over the first axes of `log_a`, such as `(T, B)`: True where a
            step starts from zero instead of the state before it.
        reverse: True runs from the last step to the first; `log_initial` is then the state
            after the last one.

    Returns:
        `(final, states)`, as logarithms: the state after the last step taken, `(...)`, and
        the states after every step, `(T, ...)`.

    Raises:
        TypeError, ValueError: if the arrays do not match each other.

    Example:
        >>> import jax.numpy as jnp, jaxrnn
        >>> log_a, log_b = jnp.log(jnp.full((4, 1), 0.5)), jnp.zeros((4, 1))
        >>> final, states = jaxrnn.ops.log_diag_scan(log_a, log_b)
        >>> jnp.exp(states[:, 0]).round(4).tolist()
        [1.0, 1.5, 1.75, 1.875]

    Reference: Heinsen 2023, arXiv:2311.06281.
    """
    named = {"log_a": log_a, "log_b": log_b, "log_initial": log_initial}
    log_a, log_b, log_initial = real_arrays("log_diag_scan", named, reverse)
    resets = as_resets("log_diag_scan", resets, log_b.shape)
    given = (log_a, log_b) if log_initial is None else (log_a, log_b, log_initial)
    dtype = state_dtype(*given)
    log_a, log_b = log_a.astype(dtype), log_b.astype(dtype)
    if log_initial is None:
        start = jnp.full_like(log_b[0], -jnp.inf)
    else:
        start = log_initial.astype(dtype)
    cuts = None if resets is None else expand_trailing(resets, log_a.ndim)
    states = _states(reverse, log_a, log_b, start, cuts)
    return states[0 if reverse else -1], states


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _states(
    reverse: bool, log_a: Array, log_b: Array, start: Array, cuts: Any
) -> Array:
    return jax.lax.platform_dependent(
        log_a,
        log_b,
        start,
        cuts,
        cpu=partial(_sequential, reverse=reverse),
        default=partial(_parallel, reverse=reverse),
    )


# custom_jvp, not custom_vjp: the tangent is a `linear_recurrence`, which JAX transposes to
# one reverse scan, so one rule gives forward and reverse mode
@_states.defjvp
def _states_tangent(reverse, primals, tangents):
    log_a, log_b, start, cuts = primals
    d_a, d_b, d_start, _ = tangents
    states = _states(reverse, log_a, log_b, start, cuts)
    old = log_a + previous_states(start, states, reverse=reverse)
    # a state of zero, -inf, has a share of zero; -inf - -inf would be NaN, and the inner
    # `where` keeps that NaN out of the derivative as well
    empty = jnp.isneginf(old) if cuts is None else jnp.isneginf(old) | cuts
    share = jnp.where(empty, 0, jnp.exp(jnp.where(empty, 0, old) - states))
    rest = jnp.where(jnp.isneginf(log_b), 0, jnp.exp(log_b - states))
    driven = share * d_a + rest * d_b
    return states, linear_recurrence(share, driven, d_start, cuts, reverse=reverse)


def _sequential(log_a, log_b, start, cuts, reverse):
    def body(h, step):
        log_a, log_b, cuts = step
        h = jnp.logaddexp(log_a + uncut(cuts, h, -jnp.inf), log_b)
        return h, h

    # at a cut the state is -inf, and a decay of +inf would turn it into NaN
    log_a = uncut(cuts, log_a)
    return jax.lax.scan(body, start, (log_a, log_b, cuts), reverse=reverse)[1]


def _parallel(log_a, log_b, start, cuts, reverse):
    def after(first, second):
        (a_1, b_1, cuts_1), (a_2, b_2, cuts_2) = first, second
        cuts = None if cuts_1 is None else cuts_1 | cuts_2
        kept = partial(uncut, cuts_2, cut=-jnp.inf)
        return a_2 + kept(a_1), jnp.logaddexp(a_2 + kept(b_1), b_2), cuts

    steps = (uncut(cuts, log_a), log_b, cuts)
    decays, inputs, cuts = jax.lax.associative_scan(after, steps, reverse=reverse)
    return jnp.logaddexp(decays + uncut(cuts, start[None], -jnp.inf), inputs)
