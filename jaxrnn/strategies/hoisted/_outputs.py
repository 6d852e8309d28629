"""Readouts that return leaves of the state, so that outputs need not be stored twice."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from ._leaves import is_inexact


@dataclass(frozen=True)
class StateOutputs:
    """Outputs that are leaves of the state.

    Attributes:
        places: for each output, the index of the leaf of the state that it is.
        structure: the pytree structure of the outputs.
    """

    places: tuple[int, ...]
    structure: Any

    def outputs(self, states: Any) -> Any:
        leaves = jax.tree.leaves(states)
        return jax.tree.unflatten(self.structure, [leaves[i] for i in self.places])

    def gradients(self, states: Any, d_ys: list[jax.Array]) -> list[jax.Array | None]:
        """The gradients of the inexact leaves; None for leaves that are not outputs."""
        leaves = jax.tree.leaves(states)
        found: dict[int, jax.Array] = {}
        inexact = [i for i in self.places if is_inexact(leaves[i])]
        for i, d in zip(inexact, d_ys, strict=True):
            found[i] = found[i] + d if i in found else d
        return [found.get(i) for i, leaf in enumerate(leaves) if is_inexact(leaf)]


def outputs_of_state(
    readout: Callable, params: Any, state: Any, z: Any
) -> StateOutputs | None:
    """The leaves of the state that a readout returns; None if it returns anything else."""
    # read off the traced readout: an output variable that is an input variable is that
    # input
    batched = jax.vmap(readout, in_axes=(None, 0, 0))
    traced, out = jax.make_jaxpr(batched, return_shape=True)(params, state, z)
    first, count = len(jax.tree.leaves(params)), len(jax.tree.leaves(state))
    leaves = traced.jaxpr.invars[first : first + count]
    if not all(any(y is s for s in leaves) for y in traced.jaxpr.outvars):
        return None
    places = [[y is s for s in leaves].index(True) for y in traced.jaxpr.outvars]
    return StateOutputs(tuple(places), jax.tree.structure(out))
