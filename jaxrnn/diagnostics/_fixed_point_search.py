"""The search for fixed points: Levenberg-Marquardt from many states at once."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree, Shaped

from .. import _check
from .._arrays import to_real, to_tree
from .._check_step import check_step
from .._layer import Layer


POLISHING = 4
"""Newton steps after the damped ones, whose equations have the squared condition number."""

SLOWEST = 1e-2
"""The least singular value of J that the error of a fixed point counts with."""


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
    """Minimizes the speed of the state under a constant input, from each of N states.

        q(s) = 1/2 |F(s) - s|^2,    F(s) = the state after layer.step(params, s, x)

    Each of the `steps` is a Levenberg-Marquardt step on F(s) - s, taken only if it lowers q;
    a few Newton steps follow. A search has converged if its error is small, the length of
    another Newton step:

        |J^-1 (F(s) - s)| <= tolerance (1 + |start|),    J = dF/ds - I,

    where singular values of J below 0.01 count as 0.01. A low speed alone is no proof: states
    move slowly where gates are saturated, far from any fixed point. The function is pure,
    with fixed shapes, and works inside `jax.jit`; `fixed_points` also merges duplicates, and
    needs concrete values. The N Jacobians of states of k real numbers take N k^2 numbers.

    Args:
        layer: a layer that can take single steps.
        params: its parameters.
        x: the input of one step, without axes of time or batch.
        states: the states to start from, leaves `(N, ...)`, such as those of `sample_states`.
        tolerance: the largest error of a fixed point, in units of 1 + |start|.
        steps: the number of Levenberg-Marquardt steps.

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
        >>> starts = jax.random.normal(jax.random.key(1), (10, 4))
        >>> found = diagnostics.search_fixed_points(cell, params, jnp.ones(3), starts)
        >>> bool(found.converged.all())
        True

    Reference: Sussillo & Barak 2013, doi:10.1162/NECO_a_00409.
    """
    params, x, states = _checked(layer, params, x, states, tolerance, steps)
    step, like = real_step(layer, params, x, states)
    residual = lambda s: step(s) - s

    # less precise matmuls would keep the residual of the fixed point above the tolerance
    with jax.default_matmul_precision("highest"):
        starts = jax.vmap(to_real)(states)
        ends = jax.vmap(partial(_search, residual, steps))(starts)
        speeds, errors = jax.vmap(partial(_speed_and_error, residual))(ends)
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

    def damped(_: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        s, damping = carry
        r, jacobian = residual(s), jax.jacfwd(residual)(s)
        normal = jacobian.T @ jacobian + damping * jnp.eye(s.size, dtype=s.dtype)
        s, better = _lower(residual, s, s - jnp.linalg.solve(normal, jacobian.T @ r))
        return s, jnp.where(better, damping / 4, damping * 4).clip(1e-12, 1e12)

    def newton(_: Any, s: Array) -> Array:
        step = jnp.linalg.solve(jax.jacfwd(residual)(s), residual(s))
        return _lower(residual, s, s - step)[0]

    s, _ = jax.lax.fori_loop(0, steps, damped, (start, jnp.ones((), start.dtype)))
    return jax.lax.fori_loop(0, POLISHING, newton, s)


def _speed_and_error(residual: Callable, s: Array) -> tuple[Array, Array]:
    """q, and the length of a Newton step in which no singular value is below `SLOWEST`."""
    r, jacobian = residual(s), jax.jacfwd(residual)(s)
    squared = jacobian @ jacobian.T + SLOWEST**2 * jnp.eye(s.size, dtype=s.dtype)
    return r @ r / 2, jnp.sqrt(r @ jnp.linalg.solve(squared, r))


def _lower(residual: Callable, s: Array, new: Array) -> tuple[Array, Array]:
    """The one of two states with the lower speed, and whether it is the new one."""
    better = jnp.linalg.norm(residual(new)) < jnp.linalg.norm(residual(s))
    return jnp.where(better, new, s), better


def _checked(
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
