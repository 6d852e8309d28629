"""`unroll` for sequences that are batch-major, or that have no batch at all."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Shaped

from . import _check
from ._layer import Layer
from ._typing import Batched
from ._unroll import unroll


def unroll_batch_major(
    layer: Layer,
    params: Any,
    xs: Any,
    state: Batched | None = None,
    **options: Any,
) -> tuple[Batched, PyTree[Shaped[Array, "B T ..."]]]:
    """`unroll` of sequences with the batch in front, `(B, T, features)`.

    As of `batch_first=True` in PyTorch, and in Keras. Time comes first inside, so inputs and
    outputs are transposed: where there is a choice, `unroll` saves the two copies.

    Args:
        layer, params: as for `unroll`.
        xs: `(B, T, features)`, or a pytree of such arrays.
        state: leaves `(B, ...)`, as for `unroll`; None for the initial state.
        options: those of `unroll`: `lengths` is `(B,)`; `mask` and `resets` are `(B, T)`;
            `reverse`, `key` and `strategy`.

    Returns:
        `(state, ys)`: the state, leaves `(B, ...)`, and the outputs, `(B, T, ...)`.

    Raises:
        TypeError, ValueError, NotImplementedError: as `unroll`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.GRU(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> xs = jnp.ones((2, 5, 3))
        >>> state, ys = jaxrnn.unroll_batch_major(
        ...     cell, params, xs, lengths=jnp.array([5, 2])
        ... )
        >>> ys.shape
        (2, 5, 4)
    """
    xs = _ranked(xs, 2, "(B, T, features)")
    batch, time = jax.tree.leaves(xs)[0].shape[:2]
    options |= _masks(options, (batch, time), "(B, T)", lambda mask: mask.T)
    swap = lambda x: jnp.swapaxes(x, 0, 1)
    state, ys = unroll(layer, params, jax.tree.map(swap, xs), state, **options)
    return state, jax.tree.map(swap, ys)


def unroll_one(
    layer: Layer,
    params: Any,
    xs: Any,
    state: Any = None,
    **options: Any,
) -> tuple[Any, PyTree[Shaped[Array, "T ..."]]]:
    """`unroll` of one sequence without a batch axis, `(T, features)`.

    Args:
        layer, params: as for `unroll`.
        xs: `(T, features)`, or a pytree of such arrays.
        state: that of one example, as `layer.step` takes it and as this returns it; None for
            the initial state.
        options: those of `unroll`: `lengths` is one integer; `mask` and `resets` are `(T,)`;
            `reverse`, `key` and `strategy`.

    Returns:
        `(state, ys)`: the state of the one example, and the outputs, `(T, ...)`.

    Raises:
        TypeError, ValueError, NotImplementedError: as `unroll`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.GRU(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll_one(cell, params, jnp.ones((5, 3)))
        >>> ys.shape, state.shape
        ((5, 4), (4,))
        >>> state, y = cell.step(params, state, jnp.ones(3))  # goes on from there
    """
    xs = _ranked(xs, 1, "(T, features)")
    (time,) = jax.tree.leaves(xs)[0].shape[:1]
    options |= _masks(options, (time,), "(T,)", lambda mask: mask[:, None])
    if options.get("lengths") is not None:
        options["lengths"] = _one_length(options["lengths"])
    if state is not None:
        state = _check.as_arrays(state, "state", "give what an earlier call returned")
        state = jax.tree.map(lambda s: s[None], state)
    row = jax.tree.map(lambda x: x[:, None], xs)
    state, ys = unroll(layer, params, row, state, **options)
    return jax.tree.map(lambda s: s[0], state), jax.tree.map(lambda y: y[:, 0], ys)


def _ranked(xs: Any, rank: int, layout: str) -> Any:
    """Arrays with at least `rank` axes."""
    xs = _check.as_arrays(xs, "xs", f"give an array {layout}")
    leaves = jax.tree.leaves(xs)
    if not leaves:
        raise TypeError(f"xs holds no array: give an array {layout}.")
    for leaf in leaves:
        if leaf.ndim < rank:
            raise ValueError(f"xs has the shape {leaf.shape}: give an array {layout}.")
    return xs


def _masks(options: dict, shape: tuple, layout: str, turned: Any) -> dict[str, Array]:
    """The mask and the resets among the options, time-major and with a batch axis."""
    found = {}
    for name in ("mask", "resets"):
        if (mask := options.get(name)) is None:
            continue
        mask = _check.as_arrays(mask, name, f"give booleans {layout}")
        if jnp.shape(mask) != shape:
            raise ValueError(
                f"{name} has the shape {jnp.shape(mask)}, but xs has {layout} = {shape}: "
                "give one boolean for each step."
            )
        found[name] = turned(mask)
    return found


def _one_length(length: Any) -> Array:
    if not isinstance(length, int):
        length = _check.as_arrays(length, "lengths", "give one integer")
    if jnp.ndim(length) != 0:
        raise ValueError(
            f"lengths have the shape {jnp.shape(length)}, but there is one sequence, "
            "without a batch axis: give one integer."
        )
    return jnp.asarray(length)[None]
