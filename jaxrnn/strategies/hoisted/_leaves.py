"""The leaves of a pytree: those with a gradient, and the others."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


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
