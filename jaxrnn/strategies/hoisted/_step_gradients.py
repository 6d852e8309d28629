"""The backward pass of one step, which the reverse loop repeats."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from ..._partition import PartitionedStep
from ._leaves import Split, split


class StepGradients(NamedTuple):
    """The gradients of each step of a block: of the state after it, of z, and of the
    results of its matmuls. `states` is empty if no parameter needs it."""

    states: list[jax.Array]
    zs: list[jax.Array]
    products: list[jax.Array]


class Unique:
    """Gradients of which equal ones are stacked once.

    In many cells y is added to z, and dz and dy are the same array.
    """

    def stacked(self, made: StepGradients) -> list[jax.Array]:
        """The different arrays of a step."""
        leaves, self._structure = jax.tree.flatten(made)
        unique = {id(d): d for d in leaves}
        self._places = [list(unique).index(id(d)) for d in leaves]
        return list(unique.values())

    def joined(self, unique: list[jax.Array]) -> StepGradients:
        """The gradients of all steps, from the different arrays."""
        return jax.tree.unflatten(self._structure, [unique[i] for i in self._places])


def pull_step(
    partitioned: PartitionedStep, hoisted: Any, state: Any, z: Any, products: Any
) -> tuple[Callable, list[jax.ShapeDtypeStruct]]:
    """The vjp of one step with its matmuls taken out, and the shapes of their operands.

    `(d_operands, d_after) -> (d_before, d_z, d_products)`; the results of the matmuls are
    known, so no weight is read.
    """
    of_state, of_z = split(state), split(z)
    shapes: list[jax.ShapeDtypeStruct] = []

    def step(state_leaves, z_leaves, products):
        operands: list[jax.Array] = []

        def known(i, matmul, a, w):
            del matmul, w
            operands.append(a)
            return products[i]

        after = partitioned.step(
            hoisted,
            Split(state_leaves, of_state.exact).joined(state),
            Split(z_leaves, of_z.exact).joined(z),
            known,
        )
        shapes[:] = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in operands]
        return operands, split(after).inexact

    return jax.vjp(step, of_state.inexact, of_z.inexact, list(products))[1], shapes
