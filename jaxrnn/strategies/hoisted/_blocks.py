"""Leaves of a pytree with and without gradients, and a scan over blocks of time steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Split(NamedTuple):
    """A pytree's leaves in two lists: inexact ones, which have gradients, and the others."""

    inexact: list[Any]
    exact: Any

    def joined(self, like: Any) -> Any:
        """A tree with the structure of `like` and these leaves."""
        inexact, exact = iter(self.inexact), iter(self.exact)
        leaves = [
            next(inexact if is_inexact(x) else exact) for x in jax.tree.leaves(like)
        ]
        return jax.tree.unflatten(jax.tree.structure(like), leaves)


def split(tree: Any) -> Split:
    """The leaves of a pytree as a `Split`."""
    leaves = jax.tree.leaves(tree)
    inexact = [x for x in leaves if is_inexact(x)]
    return Split(inexact, [x for x in leaves if not is_inexact(x)])


def is_inexact(leaf: Any) -> bool:
    """Whether an array is floating-point or complex, and so has a gradient."""
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def over_blocks(
    body: Callable,
    carry: Any,
    sequences: Any,
    block: int,
    firsts: Any = (),
    *,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """A scan over blocks of sequences `(T, ...)`; the last block may be shorter.

    `body(carry, blocks[, first])` returns `(carry, results)`, where `first` is the block's
    entry of `firsts` and `results` are joined along time.
    """
    time = jax.tree.leaves(sequences)[0].shape[0]
    count, left = divmod(time, block)
    given = (sequences, firsts) if jax.tree.leaves(firsts) else (sequences,)
    step = lambda carry, x: body(carry, *x)

    def whole(carry):
        fold = lambda x: x[: count * block].reshape(count, block, *x.shape[1:])
        folded = (
            jax.tree.map(fold, sequences),
            *(jax.tree.map(lambda x: x[:count], f) for f in given[1:]),
        )
        carry, found = lax.scan(step, carry, folded, reverse=reverse)
        return carry, jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), found)

    def rest(carry):
        last = jax.tree.map(lambda x: x[count * block :], sequences)
        return body(
            carry, last, *(jax.tree.map(lambda x: x[count], f) for f in given[1:])
        )

    parts = [whole] * (count > 0) + [rest] * (left > 0)
    found = []
    for part in reversed(parts) if reverse else parts:
        carry, more = part(carry)
        found.append(more)
    found = found[::-1] if reverse else found
    if len(found) == 1:
        return carry, found[0]
    return carry, jax.tree.map(lambda *xs: jnp.concatenate(xs), *found)
