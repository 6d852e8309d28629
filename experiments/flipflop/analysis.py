"""The fixed points of a trained network, and how long it keeps its memories."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from jaxrnn import diagnostics

from .task import BITS, Batch


class Analysis(NamedTuple):
    """The fixed points without a pulse, their outputs `(P, 3)`, and the visited states."""

    points: diagnostics.FixedPoints
    outputs: np.ndarray
    visited: Any

    @property
    def corners(self) -> int:
        """How many of the eight memories have a stable fixed point with their signs."""
        signs = np.sign(self.outputs[self.points.stable])
        return len(np.unique(signs, axis=0))

    def by_unstable_directions(self) -> list[int]:
        """The number of fixed points with 0, 1, 2 ... unstable directions."""
        return np.bincount(self.points.unstable).tolist()


def analyse(
    model: jaxrnn.Layer, params: Any, test: Batch, searches: int, noise: float
) -> Analysis:
    """Searches for fixed points from states that the network visits."""
    visited = diagnostics.visited_states(model, params, jnp.asarray(test.pulses))
    key = jax.random.key(0)
    starts = diagnostics.sample_states(key, visited, searches, noise=noise)
    silence = jnp.zeros(BITS)
    points = diagnostics.fixed_points(model, params, silence, starts)
    outputs = jax.vmap(lambda s: model.step(params, s, silence)[1])(points.states)
    return Analysis(points, np.asarray(outputs), visited)


def bits_kept(model: jaxrnn.Layer, params: Any, test: Batch, silent: int) -> float:
    """The fraction of bits with the right sign, after so many steps without a pulse."""
    state, _ = jaxrnn.unroll(model, params, test.pulses)
    silence = np.zeros((silent, *test.pulses.shape[1:]), np.float32)
    _, ys = jaxrnn.unroll(model, params, silence, state)
    right = np.sign(ys[-1]) == test.bits[-1]
    return float(right[test.valid[-1]].mean())
