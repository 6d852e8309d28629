"""Sequences cut into segments of k steps, each with its own first state, as one batch."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from .._arrays import expand_trailing
from .._layer import Cell, Context


class Segments(NamedTuple):
    """The places of all steps in a table of S segments of k steps for each sequence.

    The steps that are taken lie one after the other, from place `count` on. There are
    enough places for every count below k.

    Attributes:
        k: the steps of a segment.
        time: `(S k, B)`, the step at each place.
        filled: `(S k, B)`, False at places without a step.
        place: `(T, B)`, the place of each step.
        last: `(B,)`, the segment of the last step.
    """

    k: int
    time: Int[Array, "S*k B"]
    filled: Bool[Array, "S*k B"]
    place: Int[Array, "T B"]
    last: Int[Array, "B"]

    @classmethod
    def of(
        cls, count: Any, time: int, k: int, valid: Bool[Array, "T B"] | None
    ) -> "Segments":
        """The segments of sequences that took `count` steps of a segment before."""
        if valid is None:
            valid = jnp.ones((time, *count.shape), bool)
        # a stable sort moves the steps that are taken to the front, in their order
        order = jnp.argsort(~valid, axis=0, stable=True).astype(jnp.int32)
        number = jnp.sum(valid, axis=0, dtype=jnp.int32)
        places = k * -(-(time + k - 1) // k)
        nth = jnp.arange(places, dtype=jnp.int32)[:, None] - count[None]
        filled = (nth >= 0) & (nth < number[None])
        steps = jnp.take_along_axis(order, jnp.clip(nth, 0, time - 1), axis=0)
        before = jnp.cumsum(valid, axis=0, dtype=jnp.int32) - valid.astype(jnp.int32)
        last = jnp.maximum(count + number - 1, 0) // k
        return cls(k, steps, filled, count[None] + before, last)

    def run(
        self, cell: Cell, params: Any, state: Any, xs: Any, data: Any, context: Context
    ) -> tuple[Any, Any]:
        """`(state, ys)`; a segment starts from the data of its first step.

        A segment of which earlier steps were taken in an earlier call starts from `state`.
        """
        states, ys = cell.unroll(
            params,
            jax.tree.map(self._merged, self._starts(cell, params, state, data)),
            jax.tree.map(self._folded, xs),
            context._replace(valid=self._folded(self.filled, placed=True)),
        )
        segments, batch = self._sizes
        last = lambda s: s.reshape(batch, segments, *s.shape[1:])[
            jnp.arange(batch), self.last
        ]
        return jax.tree.map(last, states), jax.tree.map(self._unfolded, ys)

    @property
    def _sizes(self) -> tuple[int, int]:
        places, batch = self.filled.shape
        return places // self.k, batch

    def _starts(self, cell: Cell, params: Any, state: Any, data: Any) -> Any:
        """The state before each segment, `(S, B, ...)`."""
        first, filled = self.time[:: self.k], self.filled[:: self.k]
        columns = jnp.arange(first.shape[1])
        carried = jnp.arange(first.shape[0]) == 0

        def one(s, d, initial):
            # Segments without steps start from the initial state, which is finite. The
            # given state might not be: it is not read if the first step is forced.
            row = lambda mask: expand_trailing(mask, d.ndim)
            own = jnp.where(row(carried[:, None]), s[None], initial[None, None])
            return jnp.where(row(filled), d[first, columns], own)

        return jax.tree.map(one, state, data, cell.initial_state(params))

    def _merged(self, x: Array) -> Array:
        """`(S, B, ...)` as one batch `(B S, ...)`."""
        x = jnp.swapaxes(x, 0, 1)
        return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])

    def _folded(self, x: Array, placed: bool = False) -> Array:
        """A sequence `(T, B, ...)` as a batch of segments, `(k, B S, ...)`."""
        if not placed:
            x = x[self.time, jnp.arange(x.shape[1])]
            filled = expand_trailing(self.filled, x.ndim)
            x = jnp.where(filled, x, jnp.zeros_like(x))
        x = x.reshape(-1, self.k, *x.shape[1:])
        return jax.vmap(self._merged, in_axes=1)(x)

    def _unfolded(self, ys: Array) -> Array:
        """The outputs of the segments, `(k, B S, ...)`, as a sequence `(T, B, ...)`."""
        segments, batch = self._sizes
        ys = ys.reshape(self.k, batch, segments, *ys.shape[2:])
        ys = jnp.moveaxis(ys, 2, 0).reshape(-1, batch, *ys.shape[3:])
        return ys[self.place, jnp.arange(batch)]
