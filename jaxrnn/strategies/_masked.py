"""Lengths, masks and resets as part of a cell's input, so that strategies can ignore them.

A reset step starts from the initial state. A step that is skipped, or past the end of its
sequence, keeps the state that it started from. States are selected with `jnp.where`, never
multiplied by zero, since zero times NaN is NaN. A linear cell stays linear: a skipped step
has `a = 1, b = 0`, and a reset adds `a * initial` to `b` and sets `a = 0`. A matrix cell
receives the masks of a whole chunk.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from .._arrays import expand_trailing
from .._layer import Cell, Context, LinearCell, MatrixCell, StepMask
from .._wrapper import Wrapper


class MaskedInput(NamedTuple):
    """An input, or its projection by a cell, with the two masks of its step."""

    value: Any
    valid: Bool[Array, "*batch"] | None
    reset: Bool[Array, "*batch"] | None


def masked(cell: Cell, xs: Any, context: Context) -> tuple[Cell, Any]:
    """The cell and its inputs, wrapped so that the context's masks and resets apply."""
    if context.valid is None and context.cuts is None:
        return cell, xs
    inputs = MaskedInput(xs, context.valid, context.resets)
    if isinstance(cell, LinearCell):
        return MaskedLinear(cell), inputs
    if isinstance(cell, MatrixCell):
        return MaskedMatrix(cell), inputs
    return Masked(cell), inputs


def _where(mask: Array | None, yes: Any, no: Any) -> Any:
    if mask is None:
        return no
    return jax.tree.map(lambda y, n: jnp.where(mask, y, n), yes, no)


@dataclass(frozen=True)
class Masked(Wrapper):
    """`cell` with `MaskedInput` as its input."""

    def recur(self, params, state, z):
        return _recur(self, params, state, z)

    def readout(self, params, state, z):
        return _taken(z.valid, self.cell.readout(params, state, z.value))


@dataclass(frozen=True)
class MaskedMatrix(Masked, MatrixCell):
    """A matrix cell with `MaskedInput` as its input."""

    cell: MatrixCell

    def chunk(self, params, state, zs, step_mask):
        del step_mask  # this wrapper's masks are in the inputs
        initial = None if zs.reset is None else self.initial_state(params)
        step_mask = StepMask(zs.valid, zs.reset, initial)
        state, ys = self.cell.chunk(params, state, zs.value, step_mask)
        return state, _taken(zs.valid, ys)


@dataclass(frozen=True)
class MaskedLinear(Wrapper, LinearCell):
    """A linear cell with `MaskedInput` as its input; it stays linear."""

    cell: LinearCell

    # `LinearCell.recur` computes a * state + b; this one selects the state before the step,
    # since a state that a reset cuts off may be NaN
    def recur(self, params, state, z):  # type: ignore[misc]
        return _recur(self, params, state, z)

    def readout(self, params, state, z):
        return _taken(z.valid, self.cell.readout(params, state, z.value))

    def coefficients(self, params, z):
        a, b = self.cell.coefficients(params, z.value)
        if z.valid is not None:
            a = _where(z.valid, a, jax.tree.map(jnp.ones_like, a))
            b = _where(z.valid, b, jax.tree.map(jnp.zeros_like, b))
        if z.reset is not None:
            zero = jax.tree.map(jnp.zeros_like, a)
            initial = self.initial_state(params)
            start = _where(z.reset, initial, jax.tree.map(jnp.zeros_like, initial))
            b = jax.tree.map(lambda a, b, s: a * s + b, a, b, start)
            a = _where(z.reset, zero, a)
        return a, b


def _taken(valid: Array | None, ys: Any) -> Any:
    """The outputs of the steps that are taken, and zeros elsewhere.

    A kept state may be NaN, and so would be the gradients of layers that read its output.
    """
    if valid is None:
        return ys
    return jax.tree.map(
        lambda y: jnp.where(expand_trailing(valid, y.ndim), y, jnp.zeros_like(y)), ys
    )


def resets_of(zs: Any) -> Array | None:
    """The resets `(T, B)` of projected inputs: True where a step does not read the state
    before it. None without resets."""
    return zs.reset if isinstance(zs, MaskedInput) else None


def _recur(masked: Any, params: Any, state: Any, z: MaskedInput) -> Any:
    """A step of `masked.cell` under the masks of `z`."""
    initial = masked.initial_state(params)
    start = begin = _where(z.reset, initial, state)
    if z.reset is not None and z.valid is not None:
        # `recur` also runs for a skipped step, and its derivative is then multiplied by
        # zero. So it must be finite, but the given state may be NaN before the first reset:
        # run a skipped step from the initial state.
        begin = _where(z.valid, start, initial)
    after = masked.cell.recur(params, begin, z.value)
    return after if z.valid is None else _where(z.valid, after, start)
