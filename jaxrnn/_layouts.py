"""`unroll` for other layouts: batch-major sequences, and one sequence without a batch."""

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
    """Runs `unroll` on batch-major sequences, `(B, T, features)`.

    This is the layout of Keras, and of PyTorch with `batch_first=True`. Inputs and outputs
    are transposed, since time comes first inside; with time-major data, `unroll` saves the
    two copies.

    Args:
        layer, params: as for `unroll`.
        xs: `(B, T, features)`, or a pytree of such arrays.
        state: leaves `(B, ...)`, as for `unroll`; None for the initial state.
        options: the options of `unroll`: `lengths` is `(B,)`; `mask` and `resets` are
            `(B, T)`; `reverse`, `key` and `strategy` are unchanged.

    Returns:
        `(state, ys)`: the state, leaves `(B, ...)`, and the outputs, `(B, T, ...)`.

    Raises:
        TypeError, ValueError, NotImplementedError: as for `unroll`.

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
    """Runs `unroll` on one sequence without a batch axis, `(T, features)`.

    Args:
        layer, params: as for `unroll`.
        xs: `(T, features)`, or a pytree of such arrays.
        state: the state of one sequence, as `layer.step` takes it and as this function
            returns it; None for the initial state.
        options: the options of `unroll`: `lengths` is one integer; `mask` and `resets` are
            `(T,)`; `reverse`, `key` and `strategy` are unchanged.

    Returns:
        `(state, ys)`: the state of the sequence, and the outputs, `(T, ...)`.

    Raises:
        TypeError, ValueError, NotImplementedError: as for `unroll`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.GRU(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll_one(cell, params, jnp.ones((5, 3)))
        >>> ys.shape, state.shape
        ((5, 4), (4,))
        >>> state, y = cell.step(params, state, jnp.ones(3))  # continues from there
    """
    xs = _ranked(xs, 1, "(T, features)")
    (time,) = jax.tree.leaves(xs)[0].shape[:1]
    options |= _masks(options, (time,), "(T,)", lambda mask: mask[:, None])
    if options.get("lengths") is not None:
        options["lengths"] = _one_length(options["lengths"])
    if state is not None:
        state = _check.as_arrays(state, "state", "give what an earlier call returned")
        state = jax.tree.map(lambda s: s[None], state)
    batch_of_one = jax.tree.map(lambda x: x[:, None], xs)
    state, ys = unroll(layer, params, batch_of_one, state, **options)
    return jax.tree.map(lambda s: s[0], state), jax.tree.map(lambda y: y[:, 0], ys)


def _ranked(xs: Any, rank: int, layout: str) -> Any:
    """`xs` as arrays; ValueError if one has fewer than `rank` axes."""
    xs = _check.as_arrays(xs, "xs", f"give an array {layout}")
    leaves = jax.tree.leaves(xs)
    if not leaves:
        raise TypeError(f"xs holds no array: give an array {layout}.")
    for leaf in leaves:
        if leaf.ndim < rank:
            raise ValueError(f"xs has the shape {leaf.shape}: give an array {layout}.")
    return xs


def _masks(
    options: dict, shape: tuple, layout: str, to_time_major: Any
) -> dict[str, Array]:
    """The mask and the resets of the options, as `(T, B)`."""
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
        found[name] = to_time_major(mask)
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
