"""The norm of the gradient by time lag: how far back a gradient reaches."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arrays import state_dtype
from .._layer import Layer
from .._typing import Sequence
from ._real_step import checked


def gradient_norm_by_lag(
    layer: Layer,
    params: Any,
    xs: Sequence,
    targets: Any,
    step_loss: Callable[[Any, Any], Float[Array, ""]],
    *,
    state: Any = None,
) -> Float[Array, "T"]:
    """The norm of the last step's gradient with respect to the state k steps before it.

        norms[k - 1] = mean_b |d step_loss(y_T, target) / d s_{T-k}|,    k = 1 ... T

    The gradient vanishes if its norm falls geometrically with k, and explodes if it rises
    (Bengio et al. 1994). s is the state of the whole layer, with all its parts.

    Args:
        layer: a layer that can take single steps.
        params: its parameters.
        xs: `(T, B, features)`.
        targets: the targets of the last step, leaves `(B, ...)`.
        step_loss: `step_loss(y, target)`, the loss of one sequence at one step.
        state: the state to start from, leaves `(B, ...)`; None for the initial state.

    Returns:
        `(T,)` norms, in units of the loss per unit of the state; float32 at least. The real
        and imaginary parts of a complex state count as two numbers.

    Raises:
        TypeError, ValueError: if an argument is invalid.
        NotImplementedError: if the layer has no state, or cannot take single steps.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> from jaxrnn import diagnostics
        >>> cell = jaxrnn.Elman(3, 8, u_init=jaxrnn.initializers.Orthogonal(0.5))
        >>> params, xs = cell.init(jax.random.key(0)), jnp.ones((20, 2, 3))
        >>> norms = diagnostics.gradient_norm_by_lag(
        ...     cell, params, xs, jnp.zeros(2), lambda y, target: jnp.sum(y - target)
        ... )
        >>> bool(norms[10] < norms[0] / 500)  # each step at least halves it
        True

    Reference: Bengio, Simard, Frasconi 1994, doi:10.1109/72.279181.
    """
    given = checked(layer, params, xs, state)
    time, batch = jax.tree.leaves(given.xs)[0].shape[:2]
    for leaf in jax.tree.leaves(targets):
        if jnp.shape(leaf)[:1] != (batch,):
            raise ValueError(
                f"targets have the shape {jnp.shape(leaf)}, and xs {batch} sequences: give "
                "the targets of the last step, leaves (B, ...)."
            )
    # zeros added to the state of each step: their gradients are those of the states
    nudges = jax.tree.map(
        lambda s: jnp.zeros((time, *s.shape[1:]), s.dtype), given.state
    )

    def last_loss(nudges, state, xs, target):
        def body(state, inputs):
            x, nudge = inputs
            state = jax.tree.map(jnp.add, state, nudge)
            return layer.step(given.params, state, x)

        _, ys = jax.lax.scan(body, state, (xs, nudges))
        return step_loss(jax.tree.map(lambda y: y[-1], ys), target)

    def norms(state, xs, target):
        grads = jax.tree.leaves(jax.grad(last_loss)(nudges, state, xs, target))
        return _norms([g.reshape(time, -1) for g in grads])[::-1]

    by_sequence = jax.vmap(norms, in_axes=(0, 1, 0))(given.state, given.xs, targets)
    return jnp.mean(by_sequence, axis=0)


def _norms(rows: list[Array]) -> Float[Array, "T"]:
    """The norm of each row, over all arrays together, in float32 at least.

    Rows are scaled by their largest entry, since the squares of exploding gradients overflow.
    """
    sizes = jnp.concatenate(
        [jnp.abs(r).astype(state_dtype(jnp.abs(r))) for r in rows], axis=1
    )
    largest = jnp.max(sizes, axis=1, initial=0.0)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    return scale * jnp.sqrt(jnp.sum((sizes / scale[:, None]) ** 2, axis=1))


def plot_gradient_norm_by_lag(ax: Any, norms: Float[Array | np.ndarray, "T"]) -> None:
    """Draws the norms on a matplotlib axis, with a logarithmic scale.

    Args:
        ax: the axis.
        norms: the result of `gradient_norm_by_lag`.
    """
    ax.semilogy(range(1, len(norms) + 1), norms)
    ax.set_xlabel("time lag (steps)")
    ax.set_ylabel("|d loss / d state|")
    ax.set_title("gradient norm by time lag")
