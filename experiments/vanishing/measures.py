"""What the diagnostics see of one network."""

from typing import Any

import jax
import numpy as np

import jaxrnn
from jaxrnn import diagnostics

from .data import Memories
from .model import Params, Rememberer


EXPONENTS = 10
"""Lyapunov exponents that are computed, or as many as the state has numbers."""


def seen(model: Rememberer, params: Params, batch: Memories) -> dict[str, Any]:
    """Gradient norms by time lag, and the first Lyapunov exponents in nats per step."""

    def error(y: Any, target: Any) -> jax.Array:
        return model.error(params, y[None, None], target[None])

    norms = jax.jit(
        lambda cell: diagnostics.gradient_norm_by_lag(
            model.cell, cell, batch.xs, batch.bits, error
        )
    )(params.cell)
    # clipping changes backpropagation alone, and has no forward mode
    clipped = isinstance(model.cell, jaxrnn.ClipGradient)
    plain = model.cell.cell if clipped else model.cell
    count = min(EXPONENTS, size_of_state(plain, params.cell))
    spectrum = jax.jit(
        lambda cell: diagnostics.lyapunov_spectrum(plain, cell, batch.xs, count=count)
    )(params.cell)
    return {
        "norms": np.asarray(norms).tolist(),
        "exponents": np.asarray(spectrum.exponents).tolist(),
    }


def size_of_state(cell: Any, params: Any) -> int:
    """The real numbers in a state."""
    leaves = jax.tree.leaves(jax.eval_shape(cell.initial_state, params))
    return sum(leaf.size * (1 + np.issubdtype(leaf.dtype, complex)) for leaf in leaves)
