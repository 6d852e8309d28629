"""The Lyapunov spectrum: the mean rates at which perturbations of the state grow."""

import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._layer import Layer
from .._typing import Sequence
from ._real_step import real_steps


_BLOCKS = 20
"""Blocks of each sequence for the standard errors: long, so that they are independent."""


class LyapunovSpectrum(NamedTuple):
    """The result of `lyapunov_spectrum`.

    Attributes:
        exponents: in nats per step.
        errors: the standard error of each; NaN if there is only one block.
    """

    exponents: Float[Array, "n"]
    errors: Float[Array, "n"]


def lyapunov_spectrum(
    layer: Layer,
    params: Any,
    xs: Sequence,
    *,
    state: Any = None,
    count: int | None = None,
    every: int = 1,
    discard: int = 0,
) -> LyapunovSpectrum:
    """The first Lyapunov exponents along the trajectories that the inputs drive.

        Q R = J_t Q,    lambda_i = mean_t log |R_ii|,    J_t = d s_t / d s_{t-1}

    A small perturbation grows or shrinks by exp(lambda_1) per step, an area by
    exp(lambda_1 + lambda_2), and so on. Gradients vanish if lambda_1 < 0 and explode if
    lambda_1 > 0. The exponents are means over time and over the batch. They keep the order
    of the columns of Q, which is descending once Q has aligned with the dynamics; they are
    not sorted. Jacobians are never formed: each column of Q takes one forward-mode product.

    The standard errors come from block means: each sequence is divided into up to 20
    consecutive blocks of equally many QR intervals, and the error is the standard deviation
    of the means of all blocks, divided by the root of their number. It does not contain the
    bias of a transient; see `discard`.

    The function is differentiable, through QR; the errors count as constants.

    Args:
        layer: a layer that can take single steps.
        params: its parameters.
        xs: `(T, B, features)`; zeros for an autonomous system.
        state: the state to start from, leaves `(B, ...)`; None for the initial state.
        count: the number n of exponents, from 1 to k, the numbers in the state (two for each
            complex one); None for all k.
        every: steps between two QRs. More are faster, but the columns of Q must not become
            parallel in between, within the precision of floats.
        discard: the first steps, which do not count, so that the state and Q can forget where
            they started. If `every` does not divide the rest, up to `every` - 1 more steps
            are discarded.

    Returns:
        A `LyapunovSpectrum` of `(n,)` exponents and errors, in nats per step. An exponent is
        -inf, or far below the others, if a Jacobian is singular.

    Raises:
        TypeError, ValueError: if an argument is invalid.
        NotImplementedError: if the layer has no state, or cannot take single steps.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> from jaxrnn import diagnostics
        >>> cell = jaxrnn.Elman(1, 4, u_init=jaxrnn.initializers.Orthogonal(0.5))
        >>> params, xs = cell.init(jax.random.key(0)), jnp.zeros((50, 2, 1))
        >>> spectrum = diagnostics.lyapunov_spectrum(cell, params, xs, count=2)
        >>> print(spectrum.exponents.round(3))  # log 0.5
        [-0.693 -0.693]

    Reference: Benettin et al. 1980, doi:10.1007/BF02128236; for recurrent networks: Vogt et
    al. 2022, doi:10.3389/fams.2022.818799.
    """
    step, start, xs = real_steps(layer, params, xs, state)
    time = jax.tree.leaves(xs)[0].shape[0]
    count, every, discard = _checked(count, every, discard, time, start.shape[1])

    def moved(carry: Any, x: Any) -> tuple[Any, Any]:
        state, q = carry
        push = lambda column: jax.jvp(lambda s: step(s, x), (state,), (column,))
        return jax.vmap(push, in_axes=1, out_axes=(None, 1))(q)

    def interval(carry: Any, xs: Any) -> tuple[Any, Any]:
        one = lambda carry, x: (jax.vmap(moved)(carry, x), None)
        (states, q), _ = jax.lax.scan(one, carry, xs)
        q, r = jnp.linalg.qr(q)
        grown = jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1))
        return (states, q), jnp.log(grown) / every

    used = time - (time - discard) % every
    skipped = time - used + discard
    early = jax.tree.map(lambda x: x[:skipped, None], xs)
    late = jax.tree.map(lambda x: x[skipped:].reshape(-1, every, *x.shape[1:]), xs)
    carry, _ = jax.lax.scan(interval, (start, _first_columns(start, count)), early)
    return _summary(jax.lax.scan(interval, carry, late)[1])


def _first_columns(start: Array, count: int) -> Float[Array, "B k n"]:
    """Random orthonormal columns, the same at every call and for every count.

    Columns of the identity would not do: they are invariant under a diagonal recurrence,
    and would keep the order of its units instead of turning towards the fastest growth.
    """
    batch, size = start.shape
    draw = jax.random.normal(jax.random.key(0), (size, size), start.dtype)[:, :count]
    return jnp.broadcast_to(jnp.linalg.qr(draw)[0], (batch, size, count))


def _summary(rates: Float[Array, "I B n"]) -> LyapunovSpectrum:
    """Means over the QR intervals and the batch, and their errors from block means."""
    intervals, _, n = rates.shape
    blocks = min(intervals, _BLOCKS)
    size = intervals // blocks
    kept = jax.lax.stop_gradient(rates[intervals - blocks * size :])
    means = jnp.mean(kept.reshape(blocks, size, -1, n), axis=1).reshape(-1, n)
    if len(means) == 1:
        errors = jnp.full(n, jnp.nan, rates.dtype)
    else:
        errors = jnp.std(means, axis=0, ddof=1) / len(means) ** 0.5
    return LyapunovSpectrum(jnp.mean(rates, axis=(0, 1)), errors)


def _checked(
    count: Any, every: Any, discard: Any, time: int, size: int
) -> tuple[int, int, int]:
    names = {"count": size if count is None else count, "every": every}
    for name, value in {**names, "discard": discard}.items():
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{name} is {value!r}: give an integer.")
    n, every, discard = map(operator.index, (names["count"], every, discard))
    if not 1 <= n <= size:
        raise ValueError(
            f"count is {n}, but the state has {size} numbers, so there are as many exponents: "
            f"give 1 to {size}, or None for all."
        )
    if every < 1 or discard < 0:
        raise ValueError(
            f"every is {every} and discard {discard}: give at least 1 step between QRs, and "
            "at least 0 steps to discard."
        )
    if time - discard < every:
        raise ValueError(
            f"xs has {time} steps, of which {discard} are discarded: that leaves no interval "
            f"of every={every} steps. Give a longer sequence, or a smaller every or discard."
        )
    return n, every, discard


def plot_lyapunov_spectrum(ax: Any, spectrum: LyapunovSpectrum) -> None:
    """Draws the exponents in their order, with bars of one standard error.

    Args:
        ax: the matplotlib axis.
        spectrum: the result of `lyapunov_spectrum`.
    """
    exponents = np.asarray(spectrum.exponents)
    errors = np.nan_to_num(np.asarray(spectrum.errors), posinf=0.0)
    finite = np.isfinite(exponents)
    index = np.arange(1, len(exponents) + 1)
    ax.errorbar(
        index[finite], exponents[finite], errors[finite], fmt="o", ms=4, capsize=3
    )
    ax.axhline(0, color="grey", linewidth=0.8)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("index")
    ax.set_ylabel("exponent (nats per step)")
    ax.set_title("Lyapunov spectrum")
