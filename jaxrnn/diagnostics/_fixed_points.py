"""The fixed points of a layer under a constant input, and their stability."""

import warnings
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Integer, PyTree, Shaped

from .._arrays import to_real
from .._layer import Layer
from ._fixed_point_search import real_step, search_fixed_points


class FixedPoints(NamedTuple):
    """P fixed points, the slowest of their duplicates each, and k real numbers per state.

    Attributes:
        states: the fixed points, leaves `(P, ...)`.
        speeds: `(P,)`, q = 1/2 |F(s) - s|^2, which is zero up to rounding.
        eigenvalues: `(P, k)`, those of dF/ds, by falling modulus.
        stable: `(P,)` booleans, True if every eigenvalue is inside the unit circle.
        unstable: `(P,)`, the number of eigenvalues on the unit circle or outside.
        searches: `(P,)`, the number of searches that ended in each.
        failed: the number of searches that ended in no fixed point.
    """

    states: Any
    speeds: Float[np.ndarray, "P"]
    eigenvalues: Complex[np.ndarray, "P k"]
    stable: Bool[np.ndarray, "P"]
    unstable: Integer[np.ndarray, "P"]
    searches: Integer[np.ndarray, "P"]
    failed: int


def fixed_points(
    layer: Layer,
    params: Any,
    x: Any,
    states: PyTree[Shaped[Array, "N ..."]],
    *,
    tolerance: float = 1e-4,
    steps: int = 100,
    distance: float = 1e-2,
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
        steps: the number of Levenberg-Marquardt steps.
        distance: two ends closer than `distance` (1 + |s|) are the same fixed point.

    Returns:
        The `FixedPoints`, the most stable first. There are none if no search converges, and
        then a warning says so.

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
    if any(
        isinstance(a, jax.core.Tracer) for a in jax.tree.leaves((params, x, states))
    ):
        raise TypeError(
            "fixed_points merges duplicates, so it needs concrete values: call it outside "
            "jax.jit, or call search_fixed_points, which has fixed shapes."
        )
    if not distance > 0:
        raise ValueError(f"distance is {distance!r}: give a number above 0.")
    search = partial(search_fixed_points, tolerance=tolerance, steps=steps)
    found = jax.jit(search, static_argnums=0)(layer, params, x, states)
    vectors = np.asarray(jax.vmap(to_real)(found.states))
    speeds, converged = np.asarray(found.speeds), np.asarray(found.converged)
    if not converged.any():
        _warn(speeds, tolerance)
    kept, searches = _merged(vectors, speeds, converged, distance)
    eigenvalues = _eigenvalues(layer, params, x, found.states, kept)
    unstable = np.sum(np.abs(eigenvalues) >= 1, axis=1)
    order = np.lexsort((np.abs(eigenvalues[:, 0]), unstable))
    kept, eigenvalues, unstable = kept[order], eigenvalues[order], unstable[order]
    return FixedPoints(
        jax.tree.map(lambda s: s[kept], found.states), speeds[kept], eigenvalues,
        unstable == 0, unstable, searches[order], int(np.sum(~converged)),
    )  # fmt: skip


def _warn(speeds: np.ndarray, tolerance: float) -> None:
    """Says that there is no fixed point, and how close the search came."""
    finite = speeds[np.isfinite(speeds)]
    came = (
        "no end was finite"
        if finite.size == 0
        else f"the least q was {finite.min():.2g}"
    )
    warnings.warn(
        f"none of {len(speeds)} searches found a fixed point within tolerance={tolerance:g}; "
        f"{came}. There may be none. Otherwise give more states or steps, a larger tolerance, "
        "or params of a wider dtype.",
        stacklevel=3,
    )


def _merged(
    vectors: np.ndarray, speeds: np.ndarray, converged: np.ndarray, distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """The index of the slowest end of each group of duplicates, and the size of the group."""
    kept, sizes = [], []
    rest = np.flatnonzero(converged)
    rest = rest[np.argsort(speeds[rest], kind="stable")]
    while rest.size:
        point = vectors[rest[0]]
        apart = np.linalg.norm(vectors[rest] - point, axis=1)
        near = apart <= distance * (1 + np.linalg.norm(point))
        kept.append(rest[0])
        sizes.append(near.sum())
        rest = rest[~near]
    return np.array(kept, int), np.array(sizes, int)


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
