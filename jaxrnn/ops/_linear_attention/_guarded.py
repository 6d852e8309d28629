"""Matrix recurrences in chunks, or step by step where a number is not finite.

A matmul also sums the entries that a mask has set to zero, and zero times NaN is NaN. So in
a chunk of `_chunk`, NaN in one step would reach earlier steps and pass resets, and so would
NaN in a cotangent. A loop over single steps keeps it where it belongs. Forward and backward
therefore run in chunks if all numbers are finite, and step by step otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..._arrays import expand_trailing
from ..._autodiff._op import DifferentiableOp
from ._chunk import attend, attend_delta
from ._decays import Restart
from ._fold import folded, unfolded


_PIECE = 16  # steps between two stored states in the backward pass of `by_steps`


@dataclass(frozen=True)
class MatrixRecurrence(DifferentiableOp):
    """Linear attention, or with a beta the delta rule, in chunks of `size` steps.

    The operands are `(arrays, state, fresh)`: the arrays `q, k, v[, beta], log_decay`, each
    `(T, ..., d)`; the state before the first step; and the state that a step starts from
    after a reset, None for zero. `nondiff` are the resets, `(T, ...)`, or None.
    """

    size: int

    def reference(self, operands, nondiff):
        found = by_chunks(operands, nondiff, self.size)
        # the result of the chunks is an operand of the `cond`, so that they run only once
        fine = all_finite(jax.lax.stop_gradient(_checked(operands, found)))
        steps = lambda operands, found: by_steps(operands, nondiff)
        return jax.lax.cond(fine, lambda _, found: found, steps, operands, found)

    def value(self, operands, nondiff):
        return self.reference(operands, nondiff)

    def forward(self, operands, nondiff):
        return self.reference(operands, nondiff), None

    def backward(self, operands, nondiff, saved, grads, wanted):
        # the only residuals are the operands: chunks are recomputed. XLA removes gradients
        # that are not used, so `wanted` need not be read.
        del saved, wanted
        chunks = lambda operands: by_chunks(operands, nondiff, self.size)
        steps = lambda operands: by_steps(operands, nondiff)
        found, pull = jax.vjp(chunks, operands)

        # the vjp of the steps is taken inside its branch, so that its forward pass runs
        # only where it is needed
        def pull_steps(grads):
            return jax.vjp(steps, operands)[1](grads)

        fine = all_finite((_checked(operands, found), grads))
        return jax.lax.cond(fine, pull, pull_steps, grads)[0]


def _checked(operands: Any, found: Any) -> Any:
    """Arrays that are finite only if all inputs are.

    A NaN in an input reaches the results, except in the decay of the first step, which
    chunks do not read; so the decays are checked as well. A log decay of -inf is valid.
    """
    (*_, log_decay), *_ = operands
    return found, jnp.maximum(log_decay, -1)


def by_chunks(operands: Any, resets: Any, size: int) -> tuple[Array, Array]:
    """The state after the last step and the outputs, by matmuls over chunks."""
    arrays, state, fresh = operands
    time = len(arrays[0])

    def chunks(x: Array) -> Array:
        return jnp.moveaxis(folded(x, size), 1, -2)

    restart = None
    if resets is not None:
        fresh = None if fresh is None else fresh[None]
        restart = Restart(chunks(resets[..., None])[..., 0], fresh)
    run: Callable = attend if len(arrays) == 4 else attend_delta
    state, outputs = run(*map(chunks, arrays), state, restart)
    return state, unfolded(jnp.moveaxis(outputs, -2, 1), time)


def by_steps(operands: Any, resets: Any) -> tuple[Array, Array]:
    """The same as `by_chunks`, one step after the other."""
    arrays, state, fresh = operands

    def step(state, inputs):
        (q, k, v, *beta, log_decay), reset = inputs
        if reset is not None:
            start = 0 if fresh is None else fresh
            state = jnp.where(expand_trailing(reset, state.ndim), start, state)
        state = jnp.exp(log_decay)[..., None] * state
        if beta:
            v = beta[0] * (v - jnp.einsum("...k,...kv->...v", k, state))
        state = state + k[..., :, None] * v[..., None, :]
        return state, jnp.einsum("...k,...kv->...v", q, state)

    # without it, the backward pass would store one matrix state for every step
    @jax.checkpoint
    def piece(state, inputs):
        return jax.lax.scan(step, state, inputs)

    pieces = jax.tree.map(lambda x: folded(x, _PIECE), (arrays, resets))
    state, outputs = jax.lax.scan(piece, state, pieces)
    return state, unfolded(outputs, len(arrays[0]))


@jax.custom_batching.custom_vmap
def all_finite(tree: Any) -> Array:
    """Whether all numbers are finite: without NaN and infinities."""
    finite = [jnp.all(jnp.isfinite(_shrunk(x))) for x in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(finite))


def _shrunk(x: Array) -> Array:
    """Scaled sums over the last axis: finite if, and only if, all terms are.

    The scale keeps a sum of finite terms from overflowing, and fewer numbers are left to
    check.
    """
    return jnp.matmul(
        x,
        jnp.full((x.shape[-1], 1), 1e-30, x.dtype),
        precision=jax.lax.Precision.HIGHEST,
    )


@all_finite.def_vmap
def _all_rows_finite(axis_size, in_batched, tree):
    # one answer for the whole vmap: with one for each call, `cond` would become a `select`,
    # which runs both branches
    del axis_size, in_batched
    return all_finite(tree), False
