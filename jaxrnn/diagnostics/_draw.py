"""One figure with all measures of a layer."""

import textwrap
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._layer import Layer
from .._typing import Sequence
from ._fixed_point_plot import plot_fixed_points
from ._fixed_points import fixed_points
from ._gates import gate_saturation, plot_gate_saturation
from ._jacobians import plot_step_jacobians, step_jacobians
from ._lag import gradient_norm_by_lag, plot_gradient_norm_by_lag
from ._lyapunov import lyapunov_spectrum, plot_lyapunov_spectrum
from ._memory import plot_effective_memory
from ._singular_values import (
    jacobian_singular_values,
    plot_jacobian_singular_values,
    plot_product_singular_values,
    product_singular_values,
)
from ._visited_states import sample_states, visited_states


class _Case(NamedTuple):
    """The arguments of `draw`."""

    layer: Layer
    params: Any
    xs: Any
    targets: Any
    step_loss: Callable[[Any, Any], Any]
    state: Any

    def norms(self) -> Array:
        *args, state = self
        return gradient_norm_by_lag(*args, state=state)

    def jacobians(self) -> Array:
        """Of the first sequence: those of a whole batch can be large."""
        first = None
        if self.state is not None:
            first = jax.tree.map(lambda s: s[:1], self.state)
        xs = jax.tree.map(lambda x: x[:, :1], self.xs)
        return step_jacobians(self.layer, self.params, xs, state=first)

    def of(self, measure: Callable) -> Any:
        return measure(self.layer, self.params, self.xs, state=self.state)


def _draw_fixed_points(ax: Any, c: _Case) -> None:
    """Under the mean input, or the first symbol, from some of the visited states."""
    visited = c.of(visited_states)
    some = jax.tree.leaves(visited)  # of a layer without a state, fixed_points says so
    starts = sample_states(jax.random.key(0), visited, 64) if some else visited
    inexact = lambda x: jnp.issubdtype(x.dtype, jnp.inexact)
    typical = lambda x: jnp.mean(x, axis=(0, 1)) if inexact(x) else x[0, 0]
    x = jax.tree.map(lambda x: typical(jnp.asarray(x)), c.xs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the title says if there is none
        points = fixed_points(c.layer, c.params, x, starts)
    plot_fixed_points(ax, points, visited)
    ax.set_title(f"{ax.get_title()} under the mean input")


_PANELS: dict[str, Callable[[Any, _Case], None]] = {
    "gradient norm": lambda ax, c: plot_gradient_norm_by_lag(ax, c.norms()),
    "effective memory": lambda ax, c: plot_effective_memory(ax, c.norms()),
    "Lyapunov spectrum": lambda ax, c: plot_lyapunov_spectrum(
        ax, c.of(lyapunov_spectrum)
    ),
    "eigenvalues": lambda ax, c: plot_step_jacobians(ax, c.jacobians()),
    "singular values": lambda ax, c: plot_jacobian_singular_values(
        ax, jacobian_singular_values(c.jacobians())
    ),
    "singular values by lag": lambda ax, c: plot_product_singular_values(
        ax, product_singular_values(c.jacobians())
    ),
    "fixed points": _draw_fixed_points,
    "gate saturation": lambda ax, c: plot_gate_saturation(ax, c.of(gate_saturation)),
}
"""The panels of the figure: a function draws one on an axis. A new measure adds a line."""


def draw(
    layer: Layer,
    params: Any,
    xs: Sequence,
    targets: Any,
    step_loss: Callable[[Any, Any], Float[Array, ""]],
    *,
    state: Any = None,
) -> Any:
    """Draws all measures of a layer over one batch, each in a panel of one figure.

    A panel that does not apply to the layer, such as the gates of an `Elman`, says so. The
    surprise: the panels of Jacobians show the first sequence of the batch only. Their cost
    grows with the square of the state's size, and that of the fixed points with its cube, so
    give a short batch of a large layer. Fixed points are searched from 64 visited states,
    under the mean input, or under the first symbol.

    Args:
        layer: a layer that can take single steps.
        params: its parameters.
        xs: `(T, B, features)`.
        targets: the targets of the last step, leaves `(B, ...)`.
        step_loss: `step_loss(y, target)`, the loss of one sequence at one step.
        state: the state to start from, leaves `(B, ...)`; None for the initial state.

    Returns:
        A `matplotlib.figure.Figure`; `figure.savefig(path)` saves it.

    Raises:
        TypeError, ValueError: if an argument is invalid.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> from jaxrnn import diagnostics
        >>> cell = jaxrnn.GRU(3, 4)
        >>> params, xs = cell.init(jax.random.key(0)), jnp.ones((5, 2, 3))
        >>> figure = diagnostics.draw(
        ...     cell, params, xs, jnp.zeros(2), lambda y, target: jnp.sum(y - target)
        ... )
        >>> len(figure.axes)
        8
    """
    from matplotlib.figure import Figure  # not needed for anything else

    case = _Case(layer, params, xs, targets, step_loss, state)
    columns = 3
    rows = -(-len(_PANELS) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.8 * rows), layout="constrained")
    for i, (name, panel) in enumerate(_PANELS.items(), start=1):
        ax = figure.add_subplot(rows, columns, i)
        try:
            panel(ax, case)
        except NotImplementedError as error:
            _say(ax, name, str(error).replace(str(layer), "The layer"))
    time, batch = jax.tree.leaves(xs)[0].shape[:2]
    batch = f"T={time}, B={batch}; Jacobians of the first sequence"
    figure.suptitle(f"{textwrap.fill(str(layer), 120)}\n{batch}")
    return figure


def _say(ax: Any, name: str, reason: str) -> None:
    """A panel with the reason why the measure does not apply."""
    ax.set_axis_off()
    ax.set_title(name)
    ax.text(0.5, 0.5, textwrap.fill(reason, 40), ha="center", va="center", color="grey")
