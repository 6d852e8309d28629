"""Zoneout: some units keep their old state. Krueger et al. 2017, arXiv:1606.01305."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from .._layer import Cell, Layer
from .._validate import check_kind, check_rate
from .._wrapper import Wrapper


@dataclass(frozen=True)
class Zoneout(Layer):
    """A cell in which random units keep their old state.

        s' = d s + (1 - d) recur(s),    d ~ Bernoulli(rate), for each unit and step
        s' = rate s + (1 - rate) recur(s)    without a key: the expectation, as published

    The masks of all steps are drawn before the loop. Params and state are the same as the
    cell's.

    Args:
        cell: the cell to wrap.
        rate: the probability that a unit keeps its state, at least 0 and below 1: one
            number, or one for each part of the state, such as
            `jaxrnn.cells.LSTMState(h=0.05, c=0.5)`.

    Raises:
        TypeError: if `cell` is not a cell, or if a rate is not a number.
        ValueError: if a rate is not in [0, 1).

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> model = jaxrnn.Zoneout(jaxrnn.LSTM(3, 4), jaxrnn.cells.LSTMState(h=0.05, c=0.5))
        >>> params = model.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(
        ...     model, params, jnp.ones((5, 2, 3)), key=jax.random.key(1)
        ... )
        >>> ys.shape
        (5, 2, 4)

    Reference: Krueger et al. 2017, arXiv:1606.01305.
    """

    cell: Cell
    rate: Any

    def __post_init__(self):
        hint = "zoneout acts on one cell, such as jaxrnn.LSTM(8, 64)."
        check_kind(self, "cell", self.cell, Cell, hint)
        for rate in jax.tree.leaves(self.rate):
            check_rate(type(self).__name__, rate)

    @property
    def input_size(self):
        """The number of input features; None if the cell does not define it."""
        return getattr(self.cell, "input_size", None)

    def init(self, key):
        return self.cell.init(key)

    def initial_state(self, params):
        return self.cell.initial_state(params)

    def step(self, params, state, x):
        return self._zoned(state).step(params, state, _Input(x, None))

    def unroll(self, params, state, xs, context):
        zoned = self._zoned(state)
        kept = None
        if context.key is not None:
            time = jax.tree.leaves(xs)[0].shape[0]
            kept = _masks(context.key, time, state, zoned.rates)
        return zoned.unroll(params, state, _Input(xs, kept), context)

    def _zoned(self, state):
        structure: Any = jax.tree.structure(state)
        rates = jax.tree.leaves(self.rate)
        if len(rates) == 1:
            rates = rates * structure.num_leaves
        elif jax.tree.structure(self.rate) != structure:
            raise ValueError(
                f"Zoneout(rate={self.rate}): give one number, or one for each part of "
                f"the state of {self.cell}: {structure}."
            )
        return _Zoned(self.cell, tuple(rates), str(self))


class _Input(NamedTuple):
    """An input or its projection, and the masks of the units that keep their state."""

    value: Any
    kept: tuple[Bool[Array, "..."], ...] | None


def _masks(key, time, state, rates):
    leaves = jax.tree.leaves(state)
    keys = jax.random.split(key, len(leaves))
    return tuple(
        jax.random.bernoulli(key, rate, (time, *leaf.shape))
        for key, rate, leaf in zip(keys, rates, leaves, strict=True)
    )


@dataclass(frozen=True)
class _Zoned(Wrapper):
    """`cell` with masks in its inputs; without masks it computes the expectation."""

    rates: tuple[float, ...]
    shown: str  # `explain` shows the layer as the user wrote it

    def __str__(self):
        return self.shown

    def recur(self, params, state, z):
        before, structure = jax.tree.flatten(state)
        after = jax.tree.leaves(self.cell.recur(params, state, z.value))
        if z.kept is None:
            mixed = [
                rate * b + (1 - rate) * a
                for rate, b, a in zip(self.rates, before, after, strict=True)
            ]
        else:
            mixed = [
                jnp.where(kept, b, a)
                for kept, b, a in zip(z.kept, before, after, strict=True)
            ]
        return jax.tree.unflatten(structure, mixed)
