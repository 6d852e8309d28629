"""The influence P = d state / d params, or a part of it, carried forward in time.

    P_t = J_t P_{t-1} + I_t,    J = d state_t / d state_{t-1},    I = d state_t / d params

Each leaf of params keeps either whole rows of P (`Rows`), or a few entries for each of its
numbers (`Entries`); the other entries count as zero.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._layer import Layer
from ._pattern import Structure
from ._split import Advance, Step, advance, to_real, to_tree


@dataclass(frozen=True, eq=False)
class Rows:
    """The same m numbers of the state for all numbers of a leaf: P is `(m, p)`."""

    rows: np.ndarray

    def shape(self, size: int) -> tuple[int, int]:
        return len(self.rows), size

    def follow(self, jacobian: "ByState", p: Any, immediate: "ByParams") -> Any:
        return jacobian.block(self.rows) @ p + self.select(immediate)

    def select(self, immediate: "ByParams") -> Any:
        return immediate.values[immediate.place[self.rows]]

    def credit(self, signal: Any, p: Any) -> Any:
        return signal[self.rows] @ p


@dataclass(frozen=True, eq=False)
class Entries:
    """m numbers of the state for each number of a leaf, which `units`, `(m, p)`, names.

    `real`, `(m, p)`, is False where a number has fewer than m: units is 0 there.
    """

    units: np.ndarray
    real: np.ndarray

    def shape(self, size: int) -> tuple[int, int]:
        return self.units.shape

    def follow(self, jacobian: "ByState", p: Any, immediate: "ByParams") -> Any:
        within = jacobian.entries(self.units[:, None], self.units[None])
        new = jnp.sum(within * p[None], axis=1) + self.select(immediate)
        return jnp.where(self.real, new, 0)

    def select(self, immediate: "ByParams") -> Any:
        column = np.arange(self.units.shape[1])
        found = immediate.values[immediate.place[self.units], column]
        return jnp.where(self.real, found, 0)

    def credit(self, signal: Any, p: Any) -> Any:
        return jnp.sum(signal[self.units] * p, axis=0)


Kept = Rows | Entries | None
"""The part of P that a leaf keeps; None if it does not reach the state."""


def rows_of(mask: np.ndarray, structure: Structure) -> Kept:
    """All rows that a leaf reaches in any number of steps: its influence is exact."""
    rows = np.flatnonzero(structure.closed(np.any(mask, axis=1)))
    return Rows(rows) if len(rows) else None


def entries_of(mask: np.ndarray) -> Kept:
    """The entries of a `(k, p)` mask."""
    most = int(mask.sum(axis=0).max(initial=0))
    if most == 0:
        return None
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows) == most:
        return Rows(rows)  # every number may have them all
    # the rows of each column, the True ones first
    units = np.argsort(~mask, axis=0, kind="stable")[:most]
    real = np.take_along_axis(mask, units, axis=0)
    return Entries(np.where(real, units, 0), real)


@dataclass(frozen=True, eq=False)
class Colors:
    """Rows or columns of a sparse Jacobian that one pass computes together.

    No two of the same color are both needed in one column (one row), so their sum loses
    nothing. Curtis, Powell & Reid 1974, doi:10.1093/imamat/13.1.117.
    """

    color: np.ndarray
    count: int

    @property
    def seeds(self) -> np.ndarray:
        """`(count, k)`: a row of ones and zeros for each color."""
        return np.arange(self.count)[:, None] == self.color[None, :]


def colored(masks: list[np.ndarray]) -> Colors:
    """Colors for the rows of `(k, p)` masks, greedily: rows that share a column differ."""
    k = masks[0].shape[0] if masks else 0
    conflict = np.zeros((k, k), bool)
    for mask in masks:
        whole = mask.astype(np.float32)
        conflict |= (whole @ whole.T) > 0
    color = np.full(k, -1)
    for row in range(k):
        taken = set(color[conflict[row]])
        color[row] = next(c for c in range(k + 1) if c not in taken)
    return Colors(color, int(color.max(initial=-1)) + 1)


@dataclass(frozen=True, eq=False)
class Influence:
    """The parts of P that a method keeps, and how to carry them forward.

    Attributes:
        layer: the layer.
        structure: where its derivatives are not zero.
        kept: for each leaf of params, the part of P that is kept.
        by: the step whose Jacobian J carries P forward; I is that of the layer itself.
    """

    layer: Layer
    structure: Structure
    kept: tuple[Kept, ...]
    by: Advance = advance

    def start(self, params: Any) -> tuple:
        """P of the initial state: zero, unless that depends on the parameters."""
        leaves, tree = jax.tree.flatten(params)
        sizes = [_size(leaf) for leaf in leaves]
        dtype = to_real(self.layer.initial_state(params)).dtype
        if not self.structure.starts:
            return tuple(
                () if kept is None else jnp.zeros(kept.shape(size), dtype)
                for kept, size in zip(self.kept, sizes, strict=True)
            )

        def state(vectors: list) -> Any:
            made = [to_tree(v, leaf) for v, leaf in zip(vectors, leaves, strict=True)]
            return to_real(self.layer.initial_state(jax.tree.unflatten(tree, made)))

        jacobian = jax.jacrev(state)([to_real(leaf) for leaf in leaves])
        every = np.arange(len(self.structure.state))
        return tuple(
            () if kept is None else kept.select(ByParams(j, every))
            for kept, j in zip(self.kept, jacobian, strict=True)
        )

    def follow(self, step: Step, p: tuple) -> tuple:
        """P after a step."""
        if not any(self.kept):
            return p
        jacobian = ByState(RealStep(step, self.by), self.structure.state)
        immediate = self._immediate(RealStep(step))
        return tuple(
            () if kept is None else kept.follow(jacobian, part, now)
            for kept, part, now in zip(self.kept, p, immediate, strict=True)
        )

    def credit(self, signal: Any, p: tuple, params: Any) -> list:
        """signal P for each leaf, as real vectors: the gradient through the state."""
        leaves = jax.tree.leaves(params)
        return [
            jnp.zeros(_size(leaf)) if kept is None else kept.credit(signal, part)
            for leaf, kept, part in zip(leaves, self.kept, p, strict=True)
        ]

    def _immediate(self, step: "RealStep") -> list:
        """For each leaf that is kept, the entries of I."""
        rows_by_leaf = {
            i: k.rows for i, k in enumerate(self.kept) if isinstance(k, Rows)
        }
        whole = list(rows_by_leaf)
        sparse = [i for i, kept in enumerate(self.kept) if isinstance(kept, Entries)]
        found: list = [None] * len(self.kept)
        if whole:
            rows = np.unique(np.concatenate(list(rows_by_leaf.values())))
            place = np.zeros(step.size, int)
            place[rows] = np.arange(len(rows))
            seeds = np.eye(step.size, dtype=bool)[rows]
            for i, values in zip(whole, step.by_params(whole, seeds), strict=True):
                found[i] = ByParams(values, place)
        if sparse:
            colors = colored([self.structure.params[i] for i in sparse])
            values = step.by_params(sparse, colors.seeds)
            for i, value in zip(sparse, values, strict=True):
                found[i] = ByParams(value, colors.color)
        return found


class RealStep:
    """One step as a function of real vectors, with its derivatives."""

    def __init__(self, step: Step, by: Advance = advance):
        self._leaves, self._tree = jax.tree.flatten(step.params)
        self._layer, self._state, self._x = step.layer, step.state, step.x
        self._advance = by
        self._vectors = [to_real(leaf) for leaf in self._leaves]
        self._flat = to_real(step.state)
        self.size = len(self._flat)

    def __call__(self, vectors: list, flat: Any) -> Any:
        made = [to_tree(v, leaf) for v, leaf in zip(vectors, self._leaves, strict=True)]
        params, state = jax.tree.unflatten(self._tree, made), to_tree(flat, self._state)
        return to_real(self._advance(self._layer, params, state, self._x))

    def by_params(self, which: list[int], seeds: Any) -> list:
        """`seeds @ I` for some leaves: a row for each seed, `(seeds, p)`."""

        def function(some: list) -> Any:
            vectors = list(self._vectors)
            for i, vector in zip(which, some, strict=True):
                vectors[i] = vector
            return self(vectors, self._flat)

        _, pull = jax.vjp(function, [self._vectors[i] for i in which])
        return jax.vmap(lambda seed: pull(seed)[0])(
            jnp.asarray(seeds, self._flat.dtype)
        )

    def by_state(self, seeds: Any) -> Any:
        """`J @ seeds.T`: a row for each seed, `(seeds, k)`."""
        push = lambda seed: jax.jvp(
            lambda flat: self(self._vectors, flat), (self._flat,), (seed,)
        )[1]
        return jax.vmap(push)(jnp.asarray(seeds, self._flat.dtype))


class ByParams(NamedTuple):
    """Entries of I for one leaf: entry (unit, number) is `values[place[unit], number]`."""

    values: Any
    place: np.ndarray


class ByState:
    """Entries of J; one pass computes all columns of one color."""

    def __init__(self, step: RealStep, mask: np.ndarray):
        self._colors, self._mask = colored([mask.T]), mask
        self._values = step.by_state(self._colors.seeds)

    def entries(self, rows: np.ndarray, columns: np.ndarray) -> Any:
        """J[rows, columns], for arrays that broadcast."""
        found = self._values[self._colors.color[columns], rows]
        return jnp.where(self._mask[rows, columns], found, 0)

    def block(self, rows: np.ndarray) -> Any:
        """J[rows][:, rows]."""
        found = self._values[self._colors.color[rows]][:, rows].T
        return jnp.where(self._mask[np.ix_(rows, rows)], found, 0)


def _size(leaf: Any) -> int:
    return leaf.size * (1 + jnp.issubdtype(leaf.dtype, jnp.complexfloating))
