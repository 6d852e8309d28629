"""The saturation of gates: how often they are almost closed, or almost open."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._layer import Cell, Layer, stepping_by
from .._partition import Operation, Slot, inlined, value_of
from .._typing import Sequence
from ._legend import legend_below
from ._real_step import checked


# Jitted functions of JAX, seen as one operation: two kinds of gates, and an activation whose
# sigmoid is not a gate.
_GATES = {"hard_sigmoid": lambda y: y, "log_sigmoid": jnp.exp}
_WHOLE = {*_GATES, "silu"}


class Saturation(NamedTuple):
    """How often each unit of a gate is saturated, over time and batch.

    Attributes:
        below: the fraction of steps at which the gate is below `low`, one for each unit.
        above: the fraction at which it is above `high`.
    """

    below: Float[Array, "..."]
    above: Float[Array, "..."]


def gate_saturation(
    layer: Layer,
    params: Any,
    xs: Sequence,
    *,
    state: Any = None,
    low: float = 0.05,
    high: float = 0.95,
) -> dict[str, Saturation]:
    """The fraction of steps at which each gate is almost closed or almost open.

        below = mean_tb [gate < low],    above = mean_tb [gate > high]

    A saturated gate passes almost no gradient to its inputs; a forget gate above `high`
    keeps its memory. Nothing is declared: a gate is any output of a sigmoid in a cell's
    `project`, `recur` or `readout`, found by tracing them: `jax.nn.sigmoid`, also where it is
    computed as a logarithm (`log_sigmoid`), and `jax.nn.hard_sigmoid`. A sigmoid within SiLU,
    or in one branch of a `jnp.where`, is part of an activation and does not count. The
    surprise: gates have no names. They are numbered in the order in which the cell
    computes them: f, i, o for `LSTM`, and r, z for `GRU`.

    Args:
        layer: a layer that can take single steps.
        params: its parameters.
        xs: `(T, B, features)`.
        state: the state to start from, leaves `(B, ...)`; None for the initial state.
        low, high: the bounds, `0 <= low < high <= 1`.

    Returns:
        A `Saturation` for each gate of each cell, such as "LSTM 1, gate 2" for the second
        gate of the first cell, with arrays of the gate's shape.

    Raises:
        TypeError, ValueError: if an argument is invalid.
        NotImplementedError: if the layer has no gates, or cannot take single steps.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> from jaxrnn import diagnostics
        >>> cell = jaxrnn.GRU(3, 4, b_init=jaxrnn.initializers.ForgetBias(9.0))
        >>> params, xs = cell.init(jax.random.key(0)), jnp.ones((5, 2, 3))
        >>> found = diagnostics.gate_saturation(cell, params, xs)
        >>> {name: float(gate.above.mean()) for name, gate in found.items()}
        {'GRU 1, gate 1': 0.0, 'GRU 1, gate 2': 1.0}

    Reference: Karpathy, Johnson, Fei-Fei 2015, arXiv:1506.02078.
    """
    given = checked(layer, params, xs, state)
    if not 0 <= low < high <= 1:
        raise ValueError(
            f"low is {low!r} and high {high!r}: give 0 <= low < high <= 1, since sigmoids "
            "are from 0 to 1."
        )
    time, batch = jax.tree.leaves(given.xs)[0].shape[:2]

    names: list[str] = []  # known once the step is traced; a scan would sort the keys

    def one(state: Any, x: Any) -> tuple[Any, Any]:
        state, gates = _step_with_gates(layer, given.params, state, x)
        names[:] = gates
        return state, [Saturation(v < low, v > high) for v in gates.values()]

    def body(states: Any, x: Any) -> tuple[Any, Any]:
        states, found = jax.vmap(one)(states, x)
        return states, jax.tree.map(lambda v: jnp.sum(v, axis=0), found)

    _, counts = jax.lax.scan(body, given.state, given.xs)
    if not counts:
        raise NotImplementedError(
            f"{layer} has no gates: its cells compute no sigmoid. Give a layer with a gated "
            "cell, such as jaxrnn.LSTM."
        )
    shares = jax.tree.map(lambda n: jnp.sum(n, axis=0) / (time * batch), counts)
    return dict(zip(names, shares, strict=True))


def _step_with_gates(layer: Layer, params: Any, state: Any, x: Any) -> Any:
    """The state after one step, and the gates of all cells by name."""
    gates: dict[str, Array] = {}
    cells = 0

    def step(cell: Cell, params: Any, state: Any, x: Any) -> tuple[Any, Any]:
        nonlocal cells
        cells += 1
        name = f"{type(cell).__name__} {cells}"
        after, found = _with_gates(_parts(cell), params, state, x)
        gates.update({f"{name}, gate {i}": v for i, v in enumerate(found, start=1)})
        return after

    with stepping_by(step):
        return layer.step(params, state, x)[0], gates


def _parts(cell: Cell) -> Callable[..., tuple[Any, Any]]:
    """The step of a cell, without `cell.step`."""

    def step(params: Any, state: Any, x: Any) -> tuple[Any, Any]:
        z = cell.project(params, x)
        state = cell.recur(params, state, z)
        return state, cell.readout(params, state, z)

    return step


def _with_gates(function: Callable, *args: Any) -> tuple[Any, list[Array]]:
    """The result of a function, and the outputs of its sigmoids in their order."""
    traced, out = jax.make_jaxpr(function, return_shape=True)(*args)
    slots = [Slot() for _ in traced.jaxpr.invars]
    values: dict[Slot, Any] = {}
    operations, after = inlined(traced, slots, values, whole=_WHOLE)
    values.update(zip(slots, jax.tree.leaves(args), strict=True))
    branches = {
        i for o in operations if o.primitive.name == "select_n" for i in o.inputs
    }
    gates = []
    for operation in operations:
        operation(values)
        of = _gate_of(operation)
        if of is not None and operation.outputs[0] not in branches:
            gates.append(of(values[operation.outputs[0]]))
    found = [value_of(values, operand) for operand in after]
    return jax.tree.unflatten(jax.tree.structure(out), found), gates


def _gate_of(operation: Operation) -> Callable[[Array], Array] | None:
    """From the output of an operation to the gate; None if the operation is not a sigmoid."""
    if operation.primitive.name == "logistic":
        return lambda y: y
    return _GATES.get(operation.params.get("name", ""))


def plot_gate_saturation(ax: Any, saturation: dict[str, Saturation]) -> None:
    """Draws a bar for each gate: the fractions below, between and above the two bounds.

    Args:
        ax: the matplotlib axis.
        saturation: the result of `gate_saturation`.
    """
    names = list(saturation)
    below, above = (
        np.array([float(np.mean(gate[i])) for gate in saturation.values()])
        for i in range(2)
    )
    for label, left, width, color in (
        ("almost closed", 0 * below, below, "C0"),
        ("between", below, 1 - below - above, "lightgrey"),
        ("almost open", 1 - above, above, "C1"),
    ):
        ax.barh(names, width, left=left, color=color, label=label)
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.set_xlabel("fraction of units and steps")
    ax.set_title("gate saturation")
    legend_below(ax)
