"""A layer's step in two parts: the states after it, and the output from these states.

    s_t = advance(params, s_{t-1}, x_t),    y_t = output(params, s_t, x_t)

A gradient method approximates the derivative of the first part alone, so everything that
does not pass through a recurrence gets its exact gradient. The two parts are found by
replacing the steps of the cells inside the layer (`stepping_by`); nothing is declared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._arrays import to_real as to_real
from .._arrays import to_tree as to_tree
from .._layer import Cell, Layer, stepping_by
from .._partition import Matmul, partition


class Step(NamedTuple):
    """One step of one example; `new` is the state after it."""

    layer: Layer
    params: Any
    state: Any
    x: Any
    new: Any


Advance = Callable[[Layer, Any, Any, Any], Any]
"""`advance(layer, params, state, x)`, or a replacement of it."""


def advance(layer: Layer, params: Any, state: Any, x: Any) -> Any:
    """The states after one step."""
    return layer.step(params, state, x)[0]


def output(layer: Layer, params: Any, state: Any, x: Any) -> Any:
    """The output of the step after which the states are `state`."""

    def readout(cell: Cell, params: Any, state: Any, x: Any) -> tuple[Any, Any]:
        return state, cell.readout(params, state, cell.project(params, x))

    with stepping_by(readout):
        return layer.step(params, state, x)[1]


def blocked(layer: Layer, params: Any, state: Any, x: Any) -> Any:
    """`advance`, with no derivative through the operands of the cells' recurrent matmuls.

    What remains of the derivative by the state is the path on which a unit keeps its own
    value, such as the leak of a rate network or the forget gate of an LSTM.
    """

    def step(cell: Cell, params: Any, state: Any, x: Any) -> tuple[Any, Any]:
        z = cell.project(params, x)
        parts = partition(cell.recur, params, state, z)
        new = parts.step(parts.hoist(params), state, z, _of_constant)
        return new, cell.readout(params, new, z)

    with stepping_by(step):
        return layer.step(params, state, x)[0]


def _of_constant(i: int, matmul: Matmul, a: Any, w: Any) -> Any:
    del i
    return matmul.of(jax.lax.stop_gradient(a), w)


def nudged(step: Step, found: "tuple[Site, ...]", nudge: jax.Array) -> Any:
    """The output of a step in which `nudge` is added to the new states of all cells.

    Its derivative by the nudge contains the cells above, within this step.
    """
    nudges, cells = jax.tree.leaves(to_tree(nudge, step.new)), iter(found)

    def moved(cell: Cell, params: Any, state: Any, x: Any) -> tuple[Any, Any]:
        z = cell.project(params, x)
        leaves, tree = jax.tree.flatten(cell.recur(params, state, z))
        own = [nudges[i] for i in next(cells).state]
        new = jax.tree.unflatten(
            tree, [s + n for s, n in zip(leaves, own, strict=True)]
        )
        return new, cell.readout(params, new, z)

    with stepping_by(moved):
        return step.layer.step(step.params, step.state, step.x)[1]


@dataclass(frozen=True)
class Site:
    """A cell inside a layer, and the leaves of the layer's params and state that it owns.

    `symbols` is whether its input has integers, which may choose among parameters.
    """

    cell: Cell
    params: tuple[int, ...]
    state: tuple[int, ...]
    symbols: bool


def sites(layer: Layer, params: Any, state: Any, x: Any) -> tuple[Site, ...]:
    """The cells inside a layer, in the order in which they take their steps.

    Raises:
        NotImplementedError: if a part of the state belongs to no cell.
    """
    found: list[Site] = []

    def traced(params: Any, state: Any, x: Any) -> Any:
        # a leaf that a layer hands on to a cell is the same object inside and outside
        of = [
            {id(v): i for i, v in enumerate(jax.tree.leaves(t))}
            for t in (params, state)
        ]

        def note(cell: Cell, params: Any, state: Any, x: Any) -> tuple[Any, Any]:
            own_params, own_state = (
                tuple(
                    i for v in jax.tree.leaves(t) if (i := known.get(id(v))) is not None
                )
                for t, known in zip((params, state), of, strict=True)
            )
            kinds = [v.dtype for v in jax.tree.leaves(x)]
            symbols = not all(jnp.issubdtype(kind, jnp.inexact) for kind in kinds)
            found.append(Site(cell, own_params, own_state, symbols))
            z = cell.project(params, x)
            return state, cell.readout(params, state, z)

        with stepping_by(note):
            return layer.step(params, state, x)

    jax.eval_shape(traced, params, state, x)
    owned = {i for site in found for i in site.state}
    if owned != set(range(len(jax.tree.leaves(state)))):
        raise NotImplementedError(
            f"{layer} keeps a state outside its cells, so its step cannot be split at them: "
            "write that recurrence as a jaxrnn.Cell, or use BPTT()."
        )
    return tuple(found)
