"""Conversion between states and vectors, and a cell's recurrence over vectors."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._layer import Cell
from .._base import accumulate_in_float32


@dataclass(frozen=True)
class Flat:
    """The layout of one sequence's state in a vector of N floats, leaf after leaf.

    Attributes:
        structure: the pytree structure of the state.
        shapes, dtypes: the shapes and dtypes of its leaves.
    """

    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]

    @classmethod
    def of(cls, state: Any) -> "Flat":
        """The layout for states like this one, which is one sequence's."""
        leaves, structure = jax.tree.flatten(state)
        return cls(
            structure, tuple(s.shape for s in leaves), tuple(s.dtype for s in leaves)
        )

    @property
    def size(self) -> int:
        """N, the length of a vector."""
        return sum(map(math.prod, self.shapes))

    @property
    def dtype(self) -> Any:
        """The dtype of the vector, at least float32."""
        with jax.numpy_dtype_promotion("standard"):
            return jnp.result_type(jnp.float32, *self.dtypes)

    def vector(self, state: Any) -> Float[Array, "*TB n"]:
        """States as vectors; axes in front, such as T and B, are kept."""
        leaves = jax.tree.leaves(state)
        axes = leaves[0].shape[: leaves[0].ndim - len(self.shapes[0])]
        parts = [leaf.reshape(*axes, -1).astype(self.dtype) for leaf in leaves]
        return jnp.concatenate(parts, axis=-1)

    def state(self, vector: Float[Array, "*TB n"], dtype: Any = None) -> Any:
        """Vectors as states, in the dtypes of the state or in `dtype`."""
        leaves, start = [], 0
        for shape, own in zip(self.shapes, self.dtypes, strict=True):
            part = vector[..., start : start + math.prod(shape)]
            leaves.append(part.reshape(*vector.shape[:-1], *shape).astype(dtype or own))
            start += math.prod(shape)
        return jax.tree.unflatten(self.structure, leaves)

    def step(self, cell: Cell, params: Any, vector: Float[Array, "n"], z: Any) -> Array:
        """`recur` for one sequence, over vectors, computed at least in float32."""
        params, z = accumulate_in_float32(params)[0], accumulate_in_float32(z)[0]
        return self.vector(cell.recur(params, self.state(vector, self.dtype), z))
