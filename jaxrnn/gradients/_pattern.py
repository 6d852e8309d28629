"""Which parameter reaches which number of the state: found by probing, not declared.

A derivative that is zero at several random points, on every branch of every choice, counts
as zero everywhere.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._layer import Layer
from ._branches import every_branch
from ._split import Advance, Site, Step, advance, nudged, sites, to_real, to_tree


PROBES = 3
CHUNK = 64
"""Rows of the Jacobian that are computed at a time; all of them may not fit into memory."""


@dataclass(frozen=True, eq=False)
class Structure:
    """What the derivatives of a step look like, for one layer and one shape of input.

    k is the number of real numbers in the state.

    Attributes:
        sites: the cells inside the layer.
        parts: the number of real arrays in the state: 2 for h and c, or for a complex h.
        owner: `(k,)`, the position in `sites` of the cell that a number belongs to.
        inside: for each leaf of params, whether it belongs to a cell.
        state: `(k, k)` booleans, d state / d previous state.
        params: for each leaf of params, `(k, p)` booleans, d state / d leaf, the influence
            through the initial state included.
        starts: whether the initial state depends on the parameters.
        visible: `(k,)` booleans, whether the output of a step depends on a number of the
            state after it; c of an LSTM is not visible.
    """

    sites: tuple[Site, ...]
    parts: int
    owner: np.ndarray
    inside: tuple[bool, ...]
    state: np.ndarray
    params: tuple[np.ndarray, ...]
    starts: bool
    visible: np.ndarray

    def closed(self, rows: np.ndarray) -> np.ndarray:
        """The numbers of the state that these reach in any number of steps, `(k, ...)`."""
        while True:
            more = rows | (self.state @ rows)
            if (more == rows).all():
                return rows
            rows = more

    def within_cells(self) -> np.ndarray:
        """`(k, k)` booleans: whether two numbers of the state belong to the same cell."""
        return self.owner[:, None] == self.owner[None, :]

    def site_of(self, leaf: int) -> Site:
        """The cell that a leaf of params belongs to."""
        return next(site for site in self.sites if leaf in site.params)


def structure_of(layer: Layer, params: Any, x: Any, by: Advance = advance) -> Structure:
    """The structure for these shapes; computed once for each layer and shape."""
    leaves, tree = jax.tree.flatten((params, x))
    shapes = tuple((jnp.shape(v), jnp.result_type(v)) for v in leaves)
    # also called while a program is traced, where the probes must be computed at once
    with jax.ensure_compile_time_eval():
        return _structure(layer, tree, shapes, by)


@functools.lru_cache(maxsize=64)
def _structure(layer: Layer, tree: Any, shapes: tuple, by: Advance) -> Structure:
    structs = [jax.ShapeDtypeStruct(*s) for s in shapes]
    params_like, x_like = jax.tree.unflatten(tree, structs)
    keys = map(jax.random.key, range(PROBES))
    probes = [probe(layer, params_like, x_like, key) for key in keys]
    params, state, x = probes[0]
    found = sites(layer, params, state, x)
    owned = {i for site in found for i in site.params}
    of_symbols = {i for site in found if site.symbols for i in site.params}
    leaves = range(len(jax.tree.leaves(params)))
    masks = [_masks(layer, by, *probe) for probe in probes]
    by_state, by_params, by_start = (
        functools.reduce(_either, part) for part in zip(*masks, strict=True)
    )
    seen = [_visible(layer, found, *probe) for probe in probes]
    return Structure(
        found,
        sum(1 + jnp.iscomplexobj(leaf) for leaf in jax.tree.leaves(state)),
        _owners(found, jax.tree.leaves(state)),
        tuple(i in owned for i in leaves),
        by_state[0],
        tuple(
            _for_every_symbol(a | b) if i in of_symbols else a | b
            for i, (a, b) in enumerate(zip(by_params, by_start, strict=True))
        ),
        any(mask.any() for mask in by_start),
        functools.reduce(np.logical_or, seen),
    )


def _owners(found: tuple[Site, ...], state: list) -> np.ndarray:
    of = {leaf: i for i, site in enumerate(found) for leaf in site.state}
    sizes = [leaf.size * (1 + jnp.iscomplexobj(leaf)) for leaf in state]
    return np.repeat([of[i] for i in range(len(state))], sizes)


def _for_every_symbol(mask: np.ndarray) -> np.ndarray:
    """Of a cell that reads symbols: one symbol shows one row of a table, so keep them all."""
    return np.broadcast_to(mask.any(axis=1, keepdims=True), mask.shape)


def _visible(layer: Layer, found: tuple[Site, ...], *values: Any) -> np.ndarray:
    def pulled(values: Any, nudge: Any) -> Any:
        params, state, x = values
        step = Step(layer, params, state, x, state)
        ys, pull = jax.vjp(lambda nudge: to_real(nudged(step, found, nudge)), nudge)
        return pull(jax.random.normal(jax.random.key(0), ys.shape, ys.dtype))[0]

    nudge = jnp.zeros_like(to_real(values[1]))
    return np.asarray(every_branch(pulled)(values, nudge)) != 0


def _either(a: list[np.ndarray], b: list[np.ndarray]) -> list[np.ndarray]:
    return [x | y for x, y in zip(a, b, strict=True)]


def probe(layer: Layer, params: Any, x: Any, key: Any) -> tuple[Any, Any, Any]:
    """Random params, state and input: nothing is zero, and times between steps are positive."""
    keys = jax.random.split(key, 4)
    fresh = jax.tree.map(
        lambda p, like: p.astype(like.dtype), layer.init(keys[0]), params
    )
    params = _noisy(fresh, keys[1], 0.1)
    state = _noisy(layer.initial_state(params), keys[2], 1.0)

    def drawn(like: Any, key: Any) -> Any:
        if not jnp.issubdtype(like.dtype, jnp.inexact):
            return jnp.zeros(
                like.shape, like.dtype
            )  # a symbol that every vocabulary has
        return jax.random.uniform(key, like.shape, minval=0.1).astype(like.dtype)

    leaves, tree = jax.tree.flatten(x)
    each = jax.random.split(keys[3], max(1, len(leaves)))
    return params, state, jax.tree.unflatten(tree, map(drawn, leaves, each))


def _noisy(tree: Any, key: Any, scale: float) -> Any:
    vector = to_real(tree)
    return to_tree(
        vector + scale * jax.random.normal(key, vector.shape, vector.dtype), tree
    )


def _masks(layer: Layer, by: Advance, *values: Any) -> tuple[list, list, list]:
    """Where the derivatives by state, by params and of the initial state are not zero."""
    tree = jax.tree.structure(values[0])

    # `values` is given to all, because a choice may depend on any of them
    def step(values: Any, vectors: list, flat: Any) -> Any:
        params, state, x = values
        made = _joined(vectors, params, tree)
        return to_real(by(layer, made, to_tree(flat, state), x))

    def start(values: Any, vectors: list) -> Any:
        return to_real(layer.initial_state(_joined(vectors, values[0], tree)))

    vectors = [to_real(leaf) for leaf in jax.tree.leaves(values[0])]
    flat = to_real(values[1])
    by_params, by_state = _rows(step, values, vectors, flat)
    (by_start,) = _rows(start, values, vectors)
    return [by_state], by_params, by_start


def _joined(vectors: list, params: Any, tree: Any) -> Any:
    leaves = jax.tree.leaves(params)
    made = [to_tree(v, leaf) for v, leaf in zip(vectors, leaves, strict=True)]
    return jax.tree.unflatten(tree, made)


def _rows(function: Callable[..., Any], values: Any, *given: Any) -> Any:
    """Where the Jacobians by `given` are not zero, `(k, size)` for each of its vectors."""

    def pull(values: Any, given: tuple, row: Any) -> Any:
        return jax.vjp(functools.partial(function, values), *given)[1](row)

    pull_rows = jax.jit(jax.vmap(every_branch(pull), (None, None, 0)))
    like = jax.eval_shape(function, values, *given)
    identity = np.eye(like.size, dtype=like.dtype)
    chunks = [identity[i : i + CHUNK] for i in range(0, len(identity), CHUNK)]
    parts = [
        jax.tree.map(lambda j: np.asarray(j) != 0, pull_rows(values, given, chunk))
        for chunk in chunks
    ]
    return jax.tree.map(lambda *p: np.concatenate(p), *parts)
