"""Chunks of a matrix recurrence, and single steps where a number is not finite.

A product of matrices adds up what masks have set to zero, and zero times NaN is NaN: in one
chunk of `_chunk`, NaN in a step reaches the steps before it and passes resets, and so does NaN
in a cotangent. Steps in turn keep it where it belongs. So chunks are what runs, forwards and
backwards, as long as all is finite, and steps otherwise.
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


_PIECE = 16  # steps whose states are kept together, backwards


@dataclass(frozen=True)
class MatrixRecurrence(DifferentiableOp):
    """Linear attention, or with a beta the delta rule, in chunks of `size` steps.

    Operands are `(arrays, state, fresh)`: `q, k, v[, beta], log_decay` of `(T, ..., d)`, the
    state before the first step, and the state that a reset puts in place, None for zero. The
    nondiff are resets, `(T, ...)`, or None.
    """

    size: int

    def reference(self, operands, nondiff):
        found = by_chunks(operands, nondiff, self.size)
        fine = all_finite(jax.lax.stop_gradient(_checked(operands, found)))
        steps = lambda operands, found: by_steps(operands, nondiff)
        return jax.lax.cond(fine, lambda _, found: found, steps, operands, found)

    def value(self, operands, nondiff):
        return self.reference(operands, nondiff)

    def forward(self, operands, nondiff):
        return self.reference(operands, nondiff), None

    def backward(self, operands, nondiff, saved, grads, wanted):
        del saved, wanted  # chunks are computed again; XLA leaves out what nobody reads
        chunks = lambda operands: by_chunks(operands, nondiff, self.size)
        steps = lambda operands: by_steps(operands, nondiff)
        found, pull = jax.vjp(chunks, operands)

        def pull_steps(grads):
            return jax.vjp(steps, operands)[1](grads)

        fine = all_finite((_checked(operands, found), grads))
        return jax.lax.cond(fine, pull, pull_steps, grads)[0]


def _checked(operands: Any, found: Any) -> Any:
    """What is finite only if all else is. Chunks do not read the decay of a first step, which
    may be NaN; -inf is as good as any other."""
    (*_, log_decay), *_ = operands
    return found, jnp.maximum(log_decay, -1)


def by_chunks(operands: Any, resets: Any, size: int) -> tuple[Array, Array]:
    """The state after all steps, and their outputs, as matrix products."""
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
    """The same, one step after the other."""
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

    @jax.checkpoint
    def piece(state, inputs):
        return jax.lax.scan(step, state, inputs)

    pieces = jax.tree.map(lambda x: folded(x, _PIECE), (arrays, resets))
    state, outputs = jax.lax.scan(piece, state, pieces)
    return state, unfolded(outputs, len(arrays[0]))


@jax.custom_batching.custom_vmap
def all_finite(tree: Any) -> Array:
    """Whether there is no NaN and no infinity."""
    finite = [jnp.all(jnp.isfinite(_shrunk(x))) for x in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(finite))


def _shrunk(x: Array) -> Array:
    """Sums over the last axis of numbers that are too small for sums to overflow: finite
    where all of them are, and there are fewer to look at."""
    return jnp.matmul(
        x,
        jnp.full((x.shape[-1], 1), 1e-30, x.dtype),
        precision=jax.lax.Precision.HIGHEST,
    )


@all_finite.def_vmap
def _all_rows_finite(axis_size, in_batched, tree):
    # one answer for all of them: with one each, both branches would run
    del axis_size, in_batched
    return all_finite(tree), False
