"""Lengths, masks and resets as part of a cell's input, so that no strategy need know of them.

A step that is reset starts from the initial state; a step that is skipped, or past the end,
keeps the state that it started from. The other state is selected away, never multiplied by
zero: zero times NaN is NaN. A linear cell stays linear: a step that is skipped is `a = 1,
b = 0`, and a reset then `b += a * initial` and a cut. A matrix cell takes the masks of a chunk
as they are.
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
    """An input, or what a cell projects of it, with its two masks."""

    value: Any
    valid: Bool[Array, "*batch"] | None
    reset: Bool[Array, "*batch"] | None


def masked(cell: Cell, xs: Any, context: Context) -> tuple[Cell, Any]:
    """The cell and the inputs that put the context's lengths and resets into effect."""
    if context.valid is None and context.cuts is None:
        return cell, xs
    marked = MaskedInput(xs, context.valid, context.resets)
    if isinstance(cell, LinearCell):
        return MaskedLinear(cell), marked
    if isinstance(cell, MatrixCell):
        return MaskedMatrix(cell), marked
    return Masked(cell), marked


def _where(mask: Array | None, yes: Any, no: Any) -> Any:
    if mask is None:
        return no
    return jax.tree.map(lambda y, n: jnp.where(mask, y, n), yes, no)


@dataclass(frozen=True)
class Masked(Wrapper):
    """`cell` over marked inputs."""

    def recur(self, params, state, z):
        return _recur(self, params, state, z)

    def readout(self, params, state, z):
        return _taken(z.valid, self.cell.readout(params, state, z.value))


@dataclass(frozen=True)
class MaskedMatrix(Masked, MatrixCell):
    """`cell`, whose state is a matrix, over marked inputs."""

    cell: MatrixCell

    def chunk(self, params, state, zs, step_mask):
        del step_mask  # its own are in the inputs
        initial = None if zs.reset is None else self.initial_state(params)
        step_mask = StepMask(zs.valid, zs.reset, initial)
        state, ys = self.cell.chunk(params, state, zs.value, step_mask)
        return state, _taken(zs.valid, ys)


@dataclass(frozen=True)
class MaskedLinear(Wrapper, LinearCell):
    """`cell`, which is linear, over marked inputs: still linear."""

    cell: LinearCell

    # a user's linear cell has no `recur` of its own; this one selects the state first
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
            none = jax.tree.map(jnp.zeros_like, a)
            initial = self.initial_state(params)
            start = _where(z.reset, initial, jax.tree.map(jnp.zeros_like, initial))
            b = jax.tree.map(lambda a, b, s: a * s + b, a, b, start)
            a = _where(z.reset, none, a)
        return a, b


def _taken(valid: Array | None, ys: Any) -> Any:
    """The outputs of steps that are taken, and zeros elsewhere.

    A state that is kept may be NaN, and the layers above would multiply by it.
    """
    if valid is None:
        return ys
    return jax.tree.map(
        lambda y: jnp.where(expand_trailing(valid, y.ndim), y, jnp.zeros_like(y)), ys
    )


def resets_of(zs: Any) -> Array | None:
    """`(T, B)`, which steps do not read the state before them; None if all do."""
    return zs.reset if isinstance(zs, MaskedInput) else None


def _recur(masked: Any, params: Any, state: Any, z: MaskedInput) -> Any:
    """A step of `masked.cell`, from the state and under the masks that it was given."""
    initial = masked.initial_state(params)
    start = begin = _where(z.reset, initial, state)
    if z.reset is not None and z.valid is not None:
        # the derivative of a step that is not taken is multiplied by zero, and the state of
        # a row that no reset has replaced yet may be NaN
        begin = _where(z.valid, start, initial)
    after = masked.cell.recur(params, begin, z.value)
    return after if z.valid is None else _where(z.valid, after, start)
