"""Teacher forcing: a cell whose state is replaced by states from data, or mixed with them."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from .._layer import Cell, Layer, LinearCell
from .._sharding import one_device
from .._validate import check_between, check_kind, check_steps
from ._forced import Forced, ForcedInput, ForcedLinear
from ._segments import Segments


class Forcing(NamedTuple):
    """The input of `TeacherForcing`.

    Attributes:
        x: the input of the cell, `(T, B, features)`.
        state: the states from data, a pytree like the state of the cell: entry t is the
            state before step t. A part `(T, B, n)` forces the first n units of its part of
            the state; None forces no unit of that part.
    """

    x: Any
    state: Any


class TeacherForcingState(NamedTuple):
    """The state of `TeacherForcing(cell, every=k)`.

    Attributes:
        cell: the state of the cell.
        steps: the number of steps since the state was last forced, from 0 to k - 1; at 0,
            the next step is forced.
    """

    cell: Any
    steps: Int[Array, "*B"]


@dataclass(frozen=True)
class TeacherForcing(Layer):
    """A cell that starts some steps, or all of them in part, from a state taken from data.

        s_t = recur(d_t, x_t)  if t = 0, k, 2k, ...;  recur(s_{t-1}, x_t) otherwise   (every=k)
        s_t = recur(alpha d_t + (1 - alpha) s_{t-1}, x_t)                         (alpha)

    The first form is sparse, the second generalized teacher forcing. Both bound gradients
    of chaotic systems: at a forced step the gradient by the cell's own state is zero, and
    otherwise it shrinks by 1 - alpha. The gradient by the data is exact as well.

    The first step is forced too, and so is the first step after a reset: with `every` above
    T, the cell runs freely from `d_0`. The inputs are a `jaxrnn.layers.Forcing`. Where only
    the first n units are observed, give data of n units; the other units, and parts of the
    state for which the data are None, keep the cell's own values. Data at steps that are not
    forced may be NaN.

    Params are the same as the cell's. With `alpha`, so is the state; with `every`, the state
    is a `jaxrnn.layers.TeacherForcingState`, which counts steps, so that streaming and
    chunks continue the schedule.

    With `every`, if all units are forced, without resets and on one device, the segments
    between forced steps run side by side, as one batch of k steps, by any strategy. In all
    other cases the steps run in their order. `Fused()` on a CPU runs segments, linear cells,
    and `Elman` with `alpha`; it refuses the rest, which `Hoisted()` and `Scan()` run.

    Args:
        cell: the cell to wrap.
        every: k, the number of steps from one forced step to the next; 1 forces all steps.
        alpha: the share of the data in the state, from 0 (the cell runs freely) to 1. Each
            value compiles a separate program.

    Raises:
        TypeError: if `cell` is not a cell, or if `alpha` is not a number.
        ValueError: unless exactly one of `every` and `alpha` is given, in its range.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> model = jaxrnn.TeacherForcing(jaxrnn.Elman(3, 4), every=10)
        >>> params = model.init(jax.random.key(0))
        >>> observed = jnp.ones((50, 2, 4))
        >>> xs = jaxrnn.layers.Forcing(jnp.ones((50, 2, 3)), observed)
        >>> state, ys = jaxrnn.unroll(model, params, xs)
        >>> ys.shape
        (50, 2, 4)

    Reference: Mikhaeil, Monfared, Durstewitz 2022, arXiv:2110.07238 (`every`); Hess et al.
    2023, arXiv:2306.04406, after Doya 1992 (`alpha`).
    """

    cell: Cell
    every: int | None = None
    alpha: float | None = None

    def __post_init__(self):
        hint = "teacher forcing acts on one cell, such as jaxrnn.GRU(8, 64)."
        check_kind(self, "cell", self.cell, Cell, hint)
        if (self.every is None) == (self.alpha is None):
            raise ValueError(
                f"TeacherForcing(every={self.every!r}, alpha={self.alpha!r}): give exactly "
                "one of them, `every` for sparse and `alpha` for generalized teacher "
                "forcing."
            )
        if self.alpha is not None:
            check_between(self, "alpha", 0, 1)
        check_steps(self, "every", "if alpha is given")

    def init(self, key):
        return self.cell.init(key)

    def initial_state(self, params):
        state = self.cell.initial_state(params)
        if self.every is None:
            return state
        return TeacherForcingState(state, jnp.zeros((), jnp.int32))

    def step(self, params, state, x):
        own, count = (state, None) if self.every is None else state
        x = self._checked(own, x, axes=0)
        forced = None if count is None else count == 0
        own, y = _forced(self).step(params, own, ForcedInput(x.x, x.state, forced))
        if count is None:
            return own, y
        return TeacherForcingState(own, (count + 1) % self.every), y

    def unroll(self, params, state, xs, context):
        if self.every is None:
            xs = self._checked(state, xs, axes=1)
            inputs = ForcedInput(xs.x, xs.state, None)
            return _forced(self).unroll(params, state, inputs, context)
        own, count = state
        xs = self._checked(own, xs, axes=1)
        time = jax.tree.leaves(xs)[0].shape[0]
        counts, last = _counts(count, time, self.every, context)
        if context.cuts is None and isinstance(time, int) and _whole(own, xs.state):
            segments = Segments.of(count, time, self.every, context.valid)
            own, ys = segments.run(self.cell, params, own, xs.x, xs.state, context)
        else:
            inputs = ForcedInput(xs.x, xs.state, counts == 0)
            own, ys = _forced(self).unroll(params, own, inputs, context)
        return TeacherForcingState(own, last), ys

    def _checked(self, state: Any, x: Any, axes: int) -> Forcing:
        """The input, with data in the dtype of the state; `axes` is 1 for a sequence."""
        if not isinstance(x, Forcing):
            raise TypeError(
                f"{self} takes a jaxrnn.layers.Forcing(x, state), the input of its cell and "
                f"the states from data, and was given {type(x).__name__}"
            )
        structure: Any = jax.tree.structure(state)
        try:
            data = structure.flatten_up_to(x.state)
        except (TypeError, ValueError):
            raise ValueError(
                f"the data have the structure {jax.tree.structure(x.state)}, and the state "
                f"{structure}: give data, or None, for each part"
            ) from None
        pairs = zip(jax.tree.leaves(state), data, strict=True)
        return x._replace(
            state=jax.tree.unflatten(structure, [_as_state(*p, axes) for p in pairs])
        )


def _as_state(s: Any, d: Any, axes: int) -> Any:
    """Data of a part of the state, in its dtype; None as it is."""
    if d is None:
        return None
    if not hasattr(d, "shape"):
        raise ValueError(
            f"the data of a part of the state are {type(d).__name__}: give an array"
        )
    own, shape = s.shape[axes:], d.shape[2 * axes :]
    if shape[:-1] != own[:-1] or len(shape) != len(own) or shape[-1:] > own[-1:]:
        raise ValueError(
            f"the data of one step have the shape {shape}, and this part of the state has "
            f"{own}: give all of its units or the first n"
        )
    with jax.numpy_dtype_promotion("standard"):
        if jnp.promote_types(s.dtype, d.dtype) != s.dtype:
            raise TypeError(
                f"the data have the dtype {d.dtype}, and the state {s.dtype}"
            )
    return d.astype(s.dtype)


def _counts(count: Any, time: Any, every: int, context: Any) -> tuple[Array, Array]:
    """The counts before all steps, `(T, B)`, and after the last step, `(B,)`."""
    valid = context.valid
    if valid is None:
        valid = jnp.ones((time, *count.shape), bool)
    taken = jnp.cumsum(valid, axis=0, dtype=jnp.int32)
    before = taken - valid.astype(jnp.int32)
    # the number of steps that were taken when the count was last zero
    zero = jnp.broadcast_to(-count, before.shape)
    if context.resets is not None:
        zero = jax.lax.cummax(jnp.where(context.resets, before, zero), axis=0)
    return (before - zero) % every, (taken[-1] - zero[-1]) % every


def _whole(state: Any, data: Any) -> bool:
    """Whether data `(T, B, ...)` force every unit of the state."""
    # segments of a divided batch would be moved between devices
    same = lambda s, d: d is not None and d.shape[1:] == s.shape
    return one_device() and all(jax.tree.leaves(jax.tree.map(same, state, data)))


def _forced(layer: TeacherForcing) -> Forced:
    if isinstance(layer.cell, LinearCell):
        return ForcedLinear(layer.cell, layer.alpha, str(layer))
    return Forced(layer.cell, layer.alpha, str(layer))
