"""The gradient of the last step alone."""

from dataclasses import dataclass

import jax.numpy as jnp

from ._influence import RealStep
from ._local import Local, cell_leaves
from ._pattern import structure_of


@dataclass(frozen=True)
class Immediate(Local):
    """The immediate gradient: credit goes back one step, and no further.

        P_t = I_t = d state_t / d params | state_{t-1}

    It has no trace, costs a forward and a backward pass of one step, and is biased: a
    parameter that acts only through an earlier state gets nothing. With RMSprop or Adam it
    is a strong baseline for online learning.

    Params outside of the cells, such as an embedding's, get their exact gradient, by
    `RTRL`'s recursion.

    Reference: "Temporal credit is free" 2026, arXiv:2603.28750.
    """

    def start_own(self, layer, params, x, key):
        return ()

    def follow_own(self, step, own):
        return own

    def credit_own(self, step, own, target, signal):
        leaves = cell_leaves(structure_of(step.layer, step.params, step.x))
        found = RealStep(step).by_params(leaves, jnp.asarray(signal)[None])
        return {leaf: rows[0] for leaf, rows in zip(leaves, found, strict=True)}
