"""The search for fixed points: Newton's method from many states at once."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree, Shaped

from .. import _check
from .._arrays import to_real, to_tree
from .._check_step import check_step
from .._layer import Layer


FRACTIONS = 2.0 ** -np.arange(8)
"""The fractions of a Newton step that are tried, the largest first."""

SLOWEST = 1e-2
"""The least singular value of J that the error of a fixed point counts with."""

TOGETHER = 64
"""The number of searches at a time, so that their Jacobians fit into the cache of a CPU."""

RIDGE = 1e-6
"""A shift of J, which a line of fixed points would make singular."""


class FixedPointSearch(NamedTuple):
    """The end of the search from each of N states.

    Attributes:
        states: the states where the search ended, leaves `(N, ...)`.
        speeds: `(N,)`, q = 1/2 |F(s) - s|^2 of each.
        converged: `(N,)` booleans, True for a fixed point.
    """

    states: Any
    speeds: Float[Array, "N"]
    converged: Bool[Array, "N"]


def search_fixed_points(
    layer: Layer,
    params: Any,
    x: Any,
    states: PyTree[Shaped[Array, "N ..."]],
    *,
    tolerance: float = 1e-4,
    steps: int = 100,
) -> FixedPointSearch:
    """Searches for a fixed point under a constant input, from each of N states.

        s <- s - a J^-1 (F(s) - s),    J = dF/ds - I,    a = 1, 1/2, 1/4 ... 1/128,
        F(s) = the state after layer.step(params, s, x)

    The first a is taken for which the next Newton step, with the same J, is shorter. Where
    there is none, the layer itself takes a step, s <- F(s). The surprise: a low speed is not
    enough to have converged, since states are slow wherever gates are saturated. The error,
    the length of another Newton step in which singular values of J below 0.01 count as 0.01,
    must be at most `tolerance` (1 + |start|).

    The function is pure, with fixed shapes, and works inside `jax.jit`; `fixed_points` also
    merges duplicates. It takes 64 searches at a time, whose memory is a few times 64 k^2
    numbers for states of k real numbers.

    Args:
        layer: a layer that can take single steps.
        params: its parameters.
        x: the input of one step, without axes of time or batch.
        states: the states to start from, leaves `(N, ...)`, such as those of `sample_states`.
        tolerance: the largest error of a fixed point, in units of 1 + |start|.
        steps: the number of steps of each search.

    Returns:
        A `FixedPointSearch`, in the order of the given states.

    Raises:
        TypeError, ValueError: if an argument is invalid.
        NotImplementedError: if the layer has no state, or cannot take single steps.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> from jaxrnn import diagnostics
        >>> cell = jaxrnn.GRU(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> starts = jax.random.uniform(jax.random.key(1), (10, 4))
        >>> found = diagnostics.search_fixed_points(cell, params, jnp.ones(3), starts)
        >>> bool(found.converged.all())
        True

    Reference: Sussillo & Barak 2013, doi:10.1162/NECO_a_00409. The test of a step: Deuflhard
    1974, doi:10.1007/BF01406969.
    """
    params, x, states = checked(layer, params, x, states, tolerance, steps)
    step, like = real_step(layer, params, x, states)
    residual = lambda s: step(s) - s

    # less precise matmuls would keep the residual of the fixed point above the tolerance
    with jax.default_matmul_precision("highest"):
        starts = jax.vmap(to_real)(states)
        search = partial(_search, residual, steps)
        ends = jax.lax.map(search, starts, batch_size=TOGETHER)
        measure = partial(_speed_and_error, residual)
        speeds, errors = jax.lax.map(measure, ends, batch_size=TOGETHER)
    converged = errors <= tolerance * (1 + jnp.linalg.norm(starts, axis=1))
    found = jax.vmap(lambda s: to_tree(s, like))(ends)
    return FixedPointSearch(found, speeds, converged)


def real_step(
    layer: Layer, params: Any, x: Any, states: Any
) -> tuple[Callable[[Array], Array], Any]:
    """F as a function of one real vector, and the shapes and dtypes of one state."""
    like = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape[1:], s.dtype), states)
    return lambda s: to_real(layer.step(params, to_tree(s, like), x)[0]), like


def _search(residual: Callable, steps: int, start: Array) -> Array:
    """The end of one search; a start that is not finite stays where it is."""

    def body(_: Any, s: Array) -> Array:
        r, jacobian = residual(s), jax.jacfwd(residual)(s)
        inverse = _inverse(jacobian - RIDGE * jnp.eye(s.size, dtype=s.dtype))
        newton = inverse @ r
        fractions = jnp.asarray(FRACTIONS, s.dtype)
        candidates = s[None] - jnp.outer(fractions, newton)
        # the lengths in the metric of J: |F(s) - s| is also small where gates are saturated
        lengths = jnp.linalg.norm(jax.vmap(residual)(candidates) @ inverse.T, axis=1)
        shorter = lengths < (1 - fractions / 4) * jnp.linalg.norm(newton)
        new = jnp.where(jnp.any(shorter), candidates[jnp.argmax(shorter)], s + r)
        return jnp.where(jnp.all(jnp.isfinite(new)), new, s)

    return jax.lax.fori_loop(0, steps, body, start)


def _speed_and_error(residual: Callable, s: Array) -> tuple[Array, Array]:
    """q, and the length of a Newton step in which no singular value is below `SLOWEST`."""
    r, jacobian = residual(s), jax.jacfwd(residual)(s)
    squared = jacobian @ jacobian.T + SLOWEST**2 * jnp.eye(s.size, dtype=s.dtype)
    return r @ r / 2, jnp.sqrt(r @ _inverse(squared) @ r)


def _inverse(matrix: Array) -> Array:
    """The inverse by Gauss-Jordan elimination, with pivots.

    On a CPU, LAPACK's solver under `jax.vmap` waits for threads of the pool that it runs on,
    so that two programs at once can deadlock.
    """
    size = len(matrix)

    def eliminate(i: Any, both: Array) -> Array:
        column = jnp.where(jnp.arange(size) >= i, jnp.abs(both[:, i]), -1)
        largest = jnp.argmax(column)
        row = both[largest] / both[largest, i]
        both = both.at[largest].set(both[i])
        both = both - jnp.outer(both[:, i], row)
        return both.at[i].set(row)

    identity = jnp.eye(size, dtype=matrix.dtype)
    both = jnp.concatenate([matrix, identity], axis=1)
    return jax.lax.fori_loop(0, size, eliminate, both)[:, size:]


def checked(
    layer: Any, params: Any, x: Any, states: Any, tolerance: Any, steps: Any
) -> tuple[Any, Any, Any]:
    """The params, the input and the states as arrays, all of them validated."""
    _check.check_layer(layer)
    params = _check.check_params(layer, params)
    x = _check.as_arrays(x, "x", "give the input of one step, such as jnp.zeros(8)")
    hint = "give states (N, ...), such as those of diagnostics.sample_states"
    states = _check.as_arrays(states, "states", hint)
    count = _check_states(layer, states, hint)
    states = _check.check_state(layer, params, states, count)
    check_step(layer, params, states, jax.tree.map(lambda leaf: leaf[None, None], x))
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance!r}: give a number above 0.")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps is {steps!r}: give an integer of at least 1.")
    return params, x, states


def _check_states(layer: Layer, states: Any, hint: str) -> int:
    """The number of states N."""
    leaves = jax.tree.leaves(states)
    if not leaves:
        raise NotImplementedError(
            f"{layer} has no state, so it has no fixed points: give a layer with a "
            "recurrence."
        )
    for leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise TypeError(
                f"states hold an array of {leaf.dtype}: fixed points are defined for "
                "states of real or complex numbers."
            )
        if leaf.ndim == 0 or leaf.shape[0] == 0:
            raise ValueError(f"states hold an array {leaf.shape}, so N is 0: {hint}.")
    return leaves[0].shape[0]
