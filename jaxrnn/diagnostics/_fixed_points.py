"""The fixed points of a layer under a constant input, and their stability."""

import warnings
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Integer, PyTree, Shaped

from .._arrays import to_real
from .._layer import Layer
from ._fixed_point_search import checked, real_step, search_fixed_points


class FixedPoints(NamedTuple):
    """P fixed points, the slowest of their duplicates each, and k real numbers per state.

    Attributes:
        states: the fixed points, leaves `(P, ...)`.
        speeds: `(P,)`, q = 1/2 |F(s) - s|^2, which is zero up to rounding.
        eigenvalues: `(P, k)`, those of dF/ds, by falling modulus.
        stable: `(P,)` booleans, True if every eigenvalue is inside the unit circle.
        unstable: `(P,)`, the number of eigenvalues on the unit circle or outside.
        searches: `(P,)`, the number of searches that ended in each.
        failed: the number of searches that did not converge.
        far: the number of searches that ended in a point out of reach, which is left out.
    """

    states: Any
    speeds: Float[np.ndarray, "P"]
    eigenvalues: Complex[np.ndarray, "P k"]
    stable: Bool[np.ndarray, "P"]
    unstable: Integer[np.ndarray, "P"]
    searches: Integer[np.ndarray, "P"]
    failed: int
    far: int


def fixed_points(
    layer: Layer,
    params: Any,
    x: Any,
    states: PyTree[Shaped[Array, "N ..."]],
    *,
    tolerance: float = 1e-4,
    steps: int = 100,
    distance: float = 1e-2,
    reach: float = 1.0,
) -> FixedPoints:
    """The fixed points of a layer under a constant input, found from N states.

        F(s) = s,    F(s) = the state after layer.step(params, s, x)

    `search_fixed_points` runs from every state, ends that are duplicates are merged, and the
    eigenvalues of dF/ds say how the state behaves nearby: it returns to a stable point, and
    leaves a saddle in as many directions as `unstable` counts. The surprise: only points that
    a search reaches are found, so give many states. This function needs concrete values and
    runs outside `jax.jit`. A continuum of fixed points, such as a line attractor, gives
    points at intervals of `distance`. A complex state counts as twice as many real numbers,
    so its eigenvalues come in conjugate pairs.

    Args:
        layer: a layer that can take single steps.
        params: its parameters.
        x: the input of one step, without axes of time or batch.
        states: the states to start from, leaves `(N, ...)`, such as those of `sample_states`.
        tolerance: the largest error of a fixed point; see `search_fixed_points`.
        steps: the number of steps of each search.
        distance: two ends closer than `distance` (1 + |s|) are the same fixed point.
        reach: a point is left out if its distance from every given state is more than `reach`
            times the largest distance of a given state from their mean. Gates that are
            saturated up to rounding make every state a fixed point, far from those that a
            network visits. `jnp.inf` keeps all points.

    Returns:
        The `FixedPoints`, the most stable first. If there are none, a warning says
        why.

    Raises:
        TypeError, ValueError: if an argument is invalid.
        NotImplementedError: if the layer has no state, or cannot take single steps.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> from jaxrnn import diagnostics
        >>> cell = jaxrnn.Elman(1, 1)
        >>> params = cell.init(jax.random.key(0))._replace(u=jnp.array([[2.0]]))
        >>> starts = jnp.linspace(-1, 1, 11)[:, None]
        >>> points = diagnostics.fixed_points(cell, params, jnp.zeros(1), starts)
        >>> points.unstable.tolist()  # h' = tanh(2 h): two stable points, 0 between them
        [0, 0, 1]

    Reference: Sussillo & Barak 2013, doi:10.1162/NECO_a_00409.
    """
    _check_concrete(params, x, states)
    for name, value in (("distance", distance), ("reach", reach)):
        if not value > 0:
            raise ValueError(f"{name} is {value!r}: give a number above 0.")
    params, x, states = checked(layer, params, x, states, tolerance, steps)
    search = partial(search_fixed_points, tolerance=tolerance, steps=steps)
    found = jax.jit(search, static_argnums=0)(layer, params, x, states)
    speeds, converged = np.asarray(found.speeds), np.asarray(found.converged)
    starts, ends = (np.asarray(jax.vmap(to_real)(s)) for s in (states, found.states))
    kept, searches = _merged(ends, speeds, converged, distance)
    near = _within_reach(ends[kept], starts, reach)
    failed, far = int(np.sum(~converged)), int(np.sum(searches[~near]))
    kept, searches = kept[near], searches[near]
    if not kept.size:
        _warn(speeds, failed, far)
    eigenvalues = _eigenvalues(layer, params, x, found.states, kept)
    unstable = np.sum(np.abs(eigenvalues) >= 1, axis=1)
    order = np.lexsort((np.abs(eigenvalues[:, 0]), unstable))
    kept, eigenvalues, unstable = kept[order], eigenvalues[order], unstable[order]
    return FixedPoints(
        jax.tree.map(lambda s: s[kept], found.states), speeds[kept], eigenvalues,
        unstable == 0, unstable, searches[order], failed, far,
    )  # fmt: skip


def _check_concrete(*trees: Any) -> None:
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees)):
        raise TypeError(
            "fixed_points merges duplicates, so it needs concrete values: call it outside "
            "jax.jit, or call search_fixed_points, which has fixed shapes."
        )


def _warn(speeds: np.ndarray, failed: int, far: int) -> None:
    """Says that there is no fixed point, and why."""
    finite = speeds[np.isfinite(speeds)]
    least = f", the least q being {finite.min():.2g}" if finite.size else ""
    warnings.warn(
        f"none of {len(speeds)} searches found a fixed point: {failed} did not "
        f"converge{least}, and {far} ended out of reach. There may be no fixed point. "
        "Otherwise give more states or steps, a larger tolerance or reach, or params of a "
        "wider dtype.",
        stacklevel=3,
    )


def _merged(
    ends: np.ndarray, speeds: np.ndarray, converged: np.ndarray, distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """The index of the slowest end of each group of duplicates, and the size of the group."""
    kept, sizes = [], []
    rest = np.flatnonzero(converged)
    rest = rest[np.argsort(speeds[rest], kind="stable")]
    while rest.size:
        point = ends[rest[0]]
        lengths = np.linalg.norm(ends[rest] - point, axis=1)
        same = lengths <= distance * (1 + np.linalg.norm(point))
        kept.append(rest[0])
        sizes.append(same.sum())
        rest = rest[~same]
    return np.array(kept, int), np.array(sizes, int)


def _within_reach(points: np.ndarray, starts: np.ndarray, reach: float) -> np.ndarray:
    """Whether a start is closer to each point than `reach` times the spread of the starts."""
    if not len(points):
        return np.zeros(0, bool)
    starts = starts[np.isfinite(starts).all(axis=1)]
    spread = np.max(np.linalg.norm(starts - starts.mean(axis=0), axis=1), initial=0.0)
    if spread == 0:  # all starts are equal
        return np.ones(len(points), bool)
    nearest = [np.min(np.linalg.norm(starts - point, axis=1)) for point in points]
    return np.array(nearest) <= reach * spread


def _eigenvalues(
    layer: Layer, params: Any, x: Any, states: Any, kept: np.ndarray
) -> np.ndarray:
    """The eigenvalues of dF/ds at the states that are kept, by falling modulus."""
    step, _ = real_step(layer, params, x, states)
    vectors = jax.vmap(to_real)(states)[kept]
    if not kept.size:
        return np.zeros(vectors.shape, complex)
    with jax.default_matmul_precision("highest"):
        jacobians = jax.jit(jax.vmap(jax.jacfwd(step)))(vectors)
    # on the host, since JAX computes eigenvalues of general matrices on CPUs only
    found = np.linalg.eigvals(np.asarray(jacobians, float)).astype(complex)
    order = np.argsort(-np.abs(found), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)
