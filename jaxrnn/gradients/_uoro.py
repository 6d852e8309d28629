"""Unbiased online recurrent optimization. Tallec & Ollivier 2017, arXiv:1702.05043."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ._influence import RealStep
from ._local import Local, balance, cell_leaves, norm, state_size
from ._pattern import structure_of
from ._split import to_real, to_tree


class UOROTrace(NamedTuple):
    """P is estimated by the outer product of `state` and `params`."""

    state: jax.Array
    params: list[jax.Array]
    key: jax.Array


@dataclass(frozen=True)
class UORO(Local):
    """Unbiased online recurrent optimization: a random outer product in place of P.

        s_t = rho_0 J_t s_{t-1} + rho_1 v,    q_t = q_{t-1} / rho_0 + (v^T I_t) / rho_1
        rho_0 = sqrt(|q| / |J s|),            rho_1 = sqrt(|v^T I| / |v|)

    v has random signs, drawn afresh in every step. The mean of s q^T is P, so the gradient
    is unbiased while the parameters are constant; its variance is large. `init` needs a
    `key`, and each sequence of a batch one of its own.

    Costs: k + p numbers of memory, and two forward and two backward passes of a step.

    Reference: Tallec & Ollivier 2017, arXiv:1702.05043.
    """

    random: ClassVar[bool] = True

    def start_own(self, layer, params, x, key):
        if key is None:
            raise ValueError("UORO draws random signs: give it a random key, key=.")
        structure = structure_of(layer, params, x)
        key, now = jax.random.split(key)
        leaves = cell_leaves(structure)
        flat = jax.tree.leaves(params)
        if not structure.starts:
            zeros = [jnp.zeros_like(to_real(flat[i])) for i in leaves]
            return UOROTrace(jnp.zeros(state_size(layer, params)), zeros, key)
        signs, pull = _initial(layer, params, leaves, now)
        return UOROTrace(signs, pull, key)

    def restart_own(self, layer, params, own, x):
        return self.start_own(layer, params, x, own.key)

    def detach_own(self, own):
        state, params = jax.tree.map(jnp.zeros_like, (own.state, own.params))
        return UOROTrace(state, params, own.key)

    def follow_own(self, step, own):
        leaves = cell_leaves(structure_of(step.layer, step.params, step.x))
        key, now = jax.random.split(own.key)
        real = RealStep(step)
        signs = _signs(now, own.state)
        moved = real.by_state(own.state[None])[0]
        immediate = [rows[0] for rows in real.by_params(leaves, signs[None])]
        rho_0 = balance(norm(*own.params), norm(moved))
        rho_1 = balance(norm(*immediate), norm(signs))
        state = rho_0 * moved + rho_1 * signs
        both = zip(own.params, immediate, strict=True)
        return UOROTrace(state, [q / rho_0 + i / rho_1 for q, i in both], key)

    def credit_own(self, step, own, target, signal):
        leaves = cell_leaves(structure_of(step.layer, step.params, step.x))
        scale = signal @ own.state
        return {leaf: scale * q for leaf, q in zip(leaves, own.params, strict=True)}


def _signs(key: Any, like: Any) -> Any:
    return jax.random.rademacher(key, like.shape, like.dtype)


def _initial(layer: Any, params: Any, leaves: list[int], key: Any) -> tuple[Any, list]:
    """Signs v, and v^T P of the initial state, which depends on the params."""
    flat, tree = jax.tree.flatten(params)

    def start(vectors: list) -> Any:
        made = list(flat)
        for i, vector in zip(leaves, vectors, strict=True):
            made[i] = to_tree(vector, flat[i])
        return to_real(layer.initial_state(jax.tree.unflatten(tree, made)))

    state, pull = jax.vjp(start, [to_real(flat[i]) for i in leaves])
    signs = _signs(key, state)
    return signs, pull(signs)[0]
