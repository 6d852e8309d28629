"""The names of all axes in the library, and the types that signatures share.

    T  time            x  input features       s  a state's own axes
    B  batch           h  hidden units         p  projected units
    N  T * B           g  stacked gates        y  output features

Sequences are time-major, `(T, B, features)`. A cell sees neither `T` nor `B`.
"""

from typing import Any, TypeAlias, TypeVar

from jaxtyping import Array, Bool, PyTree, Shaped


Params = TypeVar("Params")
State = TypeVar("State")

Sequence: TypeAlias = PyTree[Shaped[Array, "T B ..."]]
"""One array `(T, B, ...)`, or a pytree of such arrays."""

Batched: TypeAlias = PyTree[Shaped[Array, "B ..."]]
"""A state with one entry per sequence of the batch."""

Size: TypeAlias = Any
"""An integer, or a symbolic dimension of `jax.export`."""

Mask: TypeAlias = Bool[Array, "T B"]

DType: TypeAlias = Any
"""Anything that `jnp.dtype` accepts."""
