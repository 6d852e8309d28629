"""How much of what was there at one step of a chunk is left at another.

A difference of two sums of log decays has the rounding errors of both, which after one strong
decay are larger than what it leaves of the others. So a sum has two parts: multiples of a
power of two, which add up without rounding, and what is left of each decay, which is small.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Restart(NamedTuple):
    """Where the steps of a chunk start anew, and from which state (None: from zero)."""

    resets: Bool[Array, "N ... C"]
    state: Float[Array, "1 ... k v"] | None = None


class Sum(NamedTuple):
    """A sum of log decays in two parts, of which differences are exact to the last digits.

    Attributes:
        coarse: multiples of a power of two, without error and without a derivative.
        fine: less than it for each decay.
    """

    coarse: Array
    fine: Array

    def value(self) -> Array:
        """The sum."""
        return self.coarse + self.fine

    def since(self, earlier: "Sum") -> Array:
        """What was added after `earlier`."""
        return (self.coarse - earlier.coarse) + (self.fine - earlier.fine)

    def each(self, fn: Callable[[Array], Array]) -> "Sum":
        """Both parts of it, cut or laid out in the same way."""
        return Sum(fn(self.coarse), fn(self.fine))


def _in_parts(log_decay: Array) -> Sum:
    """The two parts of each log decay, of a chunk `(..., C, d)`."""
    kind = jnp.finfo(log_decay.dtype)
    # the exponential of anything less is zero; -inf would leave NaN
    least = math.log(kind.tiny) + math.log(kind.eps) - 1
    log_decay = jnp.maximum(log_decay, least)
    bits = math.ceil(math.log2(-least * log_decay.shape[-2])) - kind.nmant
    coarse = jnp.round(log_decay * 2.0**-bits) * 2.0**bits
    coarse = jax.lax.stop_gradient(coarse)
    return Sum(coarse, log_decay - coarse)


class Decays(NamedTuple):
    """What is left at one step of a chunk of what was there at another.

    Attributes:
        total: `(..., C, d)`, the sum of the log decays up to each step; d is 1 or k.
        rest: `(..., C, d)`, the sum of those after each step.
        segment: `(..., C)`, how many restarts there were up to each step, or None.
        since: `(..., C, d)`, the same sum from the latest restart on; None without.
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
    # not as a difference, whose derivative would be one of sums that are not small
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
    """Sums over steps, of those that `which`, `(C, C)`, has ones for. On a CPU a product takes
    a third of the time of `cumsum`."""
    return jnp.matmul(over(which, x.ndim), x, precision=jax.lax.Precision.HIGHEST)


def over(x: Array, ndim: int) -> Array:
    """The array with axes of one in front, so that it stands over others of `ndim`."""
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)
