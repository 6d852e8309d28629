"""The Jacobian of each step with respect to the state before it."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from .._layer import Layer
from .._typing import Sequence
from ._real_step import real_steps


def step_jacobians(
    layer: Layer, params: Any, xs: Sequence, *, state: Any = None
) -> Float[Array, "T B k k"]:
    """The Jacobian of the state after each step with respect to the state before it.

        J_t = d s_t / d s_{t-1},    t = 1 ... T

    s is the state of the whole layer, with all its parts side by side in one real vector of
    k numbers. The surprise: the real and imaginary parts of a complex state count as two
    numbers, so an LRU of h units has k = 2 h.

    Args:
        layer: a layer that can take single steps.
        params: its parameters.
        xs: `(T, B, features)`.
        state: the state to start from, leaves `(B, ...)`; None for the initial state.

    Returns:
        `(T, B, k, k)`, `[t, b, i, j]` for number i of the new state and number j of the old
        one; float32 at least.

    Raises:
        TypeError, ValueError: if an argument is invalid.
        NotImplementedError: if the layer has no state, or cannot take single steps.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> from jaxrnn import diagnostics
        >>> cell = jaxrnn.LSTM(3, 4)
        >>> params, xs = cell.init(jax.random.key(0)), jnp.ones((5, 2, 3))
        >>> diagnostics.step_jacobians(cell, params, xs).shape  # h and c: k = 8
        (5, 2, 8, 8)

    Reference: Pascanu, Mikolov, Bengio 2013, arXiv:1211.5063.
    """
    step, start, xs = real_steps(layer, params, xs, state)

    def body(states: Any, x: Any) -> tuple[Any, Any]:
        return jax.vmap(step)(states, x), jax.vmap(jax.jacfwd(step))(states, x)

    return jax.lax.scan(body, start, xs)[1]


def plot_step_jacobians(
    ax: Any, jacobians: Float[Array | np.ndarray, "T B k k"]
) -> None:
    """Draws the eigenvalues of all Jacobians in the complex plane, with the unit circle.

    Args:
        ax: the matplotlib axis.
        jacobians: the result of `step_jacobians`.
    """
    matrices = np.asarray(jacobians).reshape(-1, *np.shape(jacobians)[-2:])
    finite = np.isfinite(matrices).all(axis=(1, 2))
    found = np.linalg.eigvals(matrices[finite]).ravel()
    circle = np.exp(2j * np.pi * np.linspace(0, 1, 200))
    ax.plot(circle.real, circle.imag, color="grey", linewidth=0.8)
    ax.scatter(found.real, found.imag, s=6, alpha=0.4, linewidths=0)
    ax.set_aspect("equal", "datalim")
    ax.set_xlabel("real part")
    ax.set_ylabel("imaginary part")
    ax.set_title("eigenvalues of the step Jacobians")
