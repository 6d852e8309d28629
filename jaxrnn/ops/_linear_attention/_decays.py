"""Decay factors between any two steps of a chunk, as differences of cumulative log decays.

The difference of two cumulative sums has the rounding errors of both. After one strong
decay, these errors are larger than the weak decays that follow it. So each log decay is
split into a multiple of a power of two, whose sums are exact, and a small rest, whose sums
stay small.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Restart(NamedTuple):
    """The resets of a chunk, and the state that a step starts from there; None for zero."""

    resets: Bool[Array, "N ... C"]
    state: Float[Array, "1 ... k v"] | None = None


class Sum(NamedTuple):
    """A sum of log decays in two parts, so that differences of sums keep their digits.

    Attributes:
        coarse: the sum of multiples of a power of two: exact, and without a derivative.
        fine: the sum of the rests, each smaller than that power of two.
    """

    coarse: Array
    fine: Array

    def value(self) -> Array:
        """The sum as one array."""
        return self.coarse + self.fine

    def since(self, earlier: "Sum") -> Array:
        """The sum of the log decays after `earlier`."""
        return (self.coarse - earlier.coarse) + (self.fine - earlier.fine)

    def each(self, fn: Callable[[Array], Array]) -> "Sum":
        """The sum with `fn`, which slices or reshapes, applied to both parts."""
        return Sum(fn(self.coarse), fn(self.fine))


def _in_parts(log_decay: Array) -> Sum:
    """The two parts of each log decay of a chunk, `(..., C, d)`."""
    kind = jnp.finfo(log_decay.dtype)
    # the exponential of anything less is zero anyway; -inf - -inf would be NaN
    least = math.log(kind.tiny) + math.log(kind.eps) - 1
    log_decay = jnp.maximum(log_decay, least)
    bits = math.ceil(math.log2(-least * log_decay.shape[-2])) - kind.nmant
    # 2^bits is the smallest unit for which sums over all C steps fit the mantissa exactly.
    # stop_gradient: the derivative of `round` is zero, and `fine` has all of the gradient.
    coarse = jnp.round(log_decay * 2.0**-bits) * 2.0**bits
    coarse = jax.lax.stop_gradient(coarse)
    return Sum(coarse, log_decay - coarse)


class Decays(NamedTuple):
    """The log decays between the steps of a chunk.

    Attributes:
        total: `(..., C, d)`, the sum of the log decays up to each step; d is 1 or k.
        rest: `(..., C, d)`, the sum of the log decays after each step.
        segment: `(..., C)`, the number of restarts up to each step; None without resets.
        since: `(..., C, d)`, the sum from the latest restart to each step; None without
            resets.
    """

    total: Sum
    rest: Array
    segment: Any = None
    since: Any = None


def decays_of(log_decay: Array, restart: Restart | None) -> Decays:
    """The sums of a chunk's log decays, `(..., C, d)`."""
    parts = _in_parts(log_decay)
    up_to = jnp.tril(jnp.ones((log_decay.shape[-2],) * 2, log_decay.dtype))
    total = parts.each(lambda x: _summed(up_to, x))
    # the fine part as a sum over later steps: as a difference of two totals, its gradient
    # would be a difference of two large sums
    later = total.coarse[..., -1:, :] - total.coarse
    rest = later + _summed(1 - up_to, parts.fine)
    if restart is None:
        return Decays(total, rest)
    resets = jnp.broadcast_to(restart.resets, log_decay.shape[:-1])
    segment = jnp.cumsum(resets.astype(jnp.int32), axis=-1)
    steps = jnp.arange(log_decay.shape[-2])
    latest = jax.lax.cummax(jnp.where(resets, steps, 0), axis=resets.ndim - 1)
    # the total before the latest restart
    before = Sum(*(x - y for x, y in zip(total, parts, strict=True)))
    at_latest = lambda x: jnp.take_along_axis(x, latest[..., None], axis=-2)
    return Decays(total, rest, segment, total.since(before.each(at_latest)))


def _summed(which: Array, x: Array) -> Array:
    """Sums over the steps s for which `which[t, s]`, `(C, C)`, is one.

    On a CPU this matmul takes a third of the time of `cumsum`.
    """
    return jnp.matmul(over(which, x.ndim), x, precision=jax.lax.Precision.HIGHEST)


def over(x: Array, ndim: int) -> Array:
    """The array with leading axes of size one, so that it broadcasts to `ndim` axes."""
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)
