"""The gradients of one step, which the reverse loop stacks over time."""

from typing import NamedTuple

import jax


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
