"""Small functions of arrays and dtypes that the whole library shares."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def float_dtype() -> Any:
    """JAX's default float dtype: float64 if `jax_enable_x64` is on, float32 otherwise."""
    return jnp.zeros(()).dtype


def state_dtype(*trees: Any) -> Any:
    """The common dtype of all arrays in the trees, but at least float32.

    A state has this dtype so that a long memory is not rounded away.
    """
    # users may have set strict promotion, which refuses to mix dtypes
    with jax.numpy_dtype_promotion("standard"):
        return jnp.promote_types(jnp.result_type(*jax.tree.leaves(trees)), jnp.float32)


def as_complex(re: Array, im: Array, dtype: Any) -> Array:
    """`re + i im`, in a complex dtype."""
    # `lax.complex` takes float32 and float64 only
    part = jnp.float64 if dtype == jnp.complex128 else jnp.float32
    return jax.lax.complex(re.astype(part), im.astype(part))


def broadcast_by_matmul(x: jax.Array, size: int, axis: int = -1) -> jax.Array:
    """Repeats `x`, of size 1 along `axis` (-1 or -2), `size` times along that axis.

    The repetition is a matmul with ones, and so is its derivative. The derivative of an
    ordinary broadcast is a sum, which takes XLA:CPU up to twenty times as long.
    """
    # the default precision of accelerators would round x to bfloat16 or TF32
    row = jnp.ones((1, size), x.dtype)
    factors = (x, row) if axis == -1 else (row.T, x)
    return jnp.matmul(*factors, precision=jax.lax.Precision.HIGHEST)


def expand_trailing(mask: jax.Array, ndim: int) -> jax.Array:
    """The mask with axes of size 1 appended, so that it broadcasts against `ndim` axes."""
    return mask.reshape(mask.shape + (1,) * (ndim - mask.ndim))


def valid_steps(lengths: jax.Array, time: Any) -> jax.Array:
    """`(T, B)` booleans, True at the first `lengths[b]` steps of each sequence."""
    steps = jnp.arange(time)
    return steps[:, None] < lengths[None, :].astype(steps.dtype)


def add_bias(z: Any, b: Any) -> Any:
    """`z + b`, or `z` if there is no bias."""
    return z if b is None else z + b


def previous_states(first: Any, states: Any, *, reverse: bool = False) -> Any:
    """The state before each step: `first`, and the states after all steps but the last.

    Backwards in time, the state before a step is the one after the next step.
    """

    # concatenate: `.at[1:].set` is miscompiled on CPUs (openxla/xla#49176)
    def one(first: Array, states: Array) -> Array:
        if reverse:
            return jnp.concatenate([states[1:], first[None]])
        return jnp.concatenate([first[None], states[:-1]])

    return jax.tree.map(one, first, states)


def to_real(tree: Any) -> jax.Array:
    """All numbers of a pytree as one real vector: real parts, then imaginary parts, by leaf."""
    leaves = jax.tree.leaves(tree)
    parts = []
    for leaf in map(jnp.asarray, leaves):
        split = (leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,)
        parts += [part.astype(state_dtype(part)).reshape(-1) for part in split]
    if not parts:
        return jnp.zeros(0)
    wide = jnp.result_type(*parts)
    return jnp.concatenate([part.astype(wide) for part in parts])


def to_tree(vector: jax.Array, like: Any) -> Any:
    """The pytree of a real vector: the inverse of `to_real`, with the dtypes of `like`."""
    leaves, structure = jax.tree.flatten(like)
    made, at = [], 0
    for leaf in leaves:
        is_complex = jnp.issubdtype(leaf.dtype, jnp.complexfloating)
        parts = []
        for _ in range(1 + is_complex):
            parts.append(vector[at : at + leaf.size].reshape(leaf.shape))
            at += leaf.size
        value = jax.lax.complex(*parts) if is_complex else parts[0]
        made.append(value.astype(leaf.dtype))
    return jax.tree.unflatten(structure, made)
