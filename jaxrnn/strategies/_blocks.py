"""Blocks of time steps: a scan over them, and their number of steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def scan_blocks(
    body: Callable,
    carry: Any,
    sequences: Any,
    size: int,
    firsts: Any = (),
    *,
    last: Callable | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """A scan over blocks of `size` steps of sequences `(T, ...)`; the last may be shorter.

    `body(carry, block[, first])` returns `(carry, results)`, where `first` is the block's
    entry of `firsts` and `results` are joined along time. `last` is the body of a shorter
    last block, if it differs.
    """
    time = jax.tree.leaves(sequences)[0].shape[0]
    count, left = divmod(time, size)
    given = (sequences, firsts) if jax.tree.leaves(firsts) else (sequences,)

    def whole(carry):
        fold = lambda x: x[: count * size].reshape(count, size, *x.shape[1:])
        folded = (
            jax.tree.map(fold, sequences),
            *(jax.tree.map(lambda x: x[:count], f) for f in given[1:]),
        )
        step = lambda carry, x: body(carry, *x)
        carry, found = lax.scan(step, carry, folded, reverse=reverse)
        return carry, jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), found)

    def rest(carry):
        block = jax.tree.map(lambda x: x[count * size :], sequences)
        first = (jax.tree.map(lambda x: x[count], f) for f in given[1:])
        return (last or body)(carry, block, *first)

    parts = [whole] * (count > 0) + [rest] * (left > 0)
    found = []
    for part in reversed(parts) if reverse else parts:
        carry, more = part(carry)
        found.append(more)
    found = found[::-1] if reverse else found
    if len(found) == 1:
        return carry, found[0]
    return carry, jax.tree.map(lambda *xs: jnp.concatenate(xs), *found)


def divisor(time: int, block: int) -> int:
    """A divisor of `time` from `block` down to half of it; `block` if there is none.

    A divisor leaves no shorter last block, which would be compiled separately.
    """
    near = range(block, block // 2, -1)
    return next((b for b in near if time % b == 0), block)
