"""The schedule of cuDNN, derived from the cell: what needs no loop leaves it.

Appleyard, Kocisky, Blunsom, "Optimizing performance of recurrent neural networks on GPUs"
(2016), arXiv:1604.01946.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from ..._sharding import aligned
from .._base import Strategy
from ._outputs import passed
from ._partition import cut
from ._recurrence import Recurrence


@dataclass(frozen=True)
class Hoisted(Strategy):
    """Scan, with a backward pass that leaves one product per weight in the loop.

    `recur` is traced once and cut at its products with parameters, those inside each
    other too. Forward keeps the states alone. Backward, with `S` the states before each
    step, `f` what is element-wise, and `y = s u` a product:

        Y    = S u                           one product over time and batch
        ds   = f'(s_t, z_t, y_t)^T ds        the reverse loop; one product, dy u^T, in it
        du   = S^T dY                        one product, added up in float32

    where `jax.grad` of a scan has two products and a sum of whole weights in every step.
    All of it, the projection included, goes a block of time at a time, so that nothing but
    the states exists for all time. Parameters used element-wise get their gradients
    after the loop of their block. A cell with nothing to cut runs all the same: its whole
    step stays in the loop.

    Under forward mode, and where a gradient is differentiated again, it is `Scan()`.

    Args:
        block: steps in a block; None takes as many as a few megabytes hold.
        recompute: False keeps the products of the forward pass, as many floats again as
            `project` gives, instead of computing them once more.

    Raises:
        ValueError: for a block that is not an integer of at least 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.LSTM(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> def loss(params, strategy):
        ...     _, ys = jaxrnn.unroll(cell, params, jnp.ones((90, 2, 3)), strategy=strategy)
        ...     return (ys**2).sum()
        >>> scan = jax.grad(loss)(params, jaxrnn.Scan())
        >>> hoisted = jax.grad(loss)(params, jaxrnn.Hoisted())
        >>> bool(jnp.allclose(scan.u, hoisted.u, atol=1e-4))
        True

    Reference: Appleyard et al. 2016, arXiv:1604.01946.
    """

    block: int | None = None
    recompute: bool = True

    def __post_init__(self):
        if self.block is not None and (
            not isinstance(self.block, int) or self.block < 1
        ):
            raise ValueError(
                f"Hoisted(block={self.block!r}): `block` is a number of steps, an integer "
                "of at least 1; or None, to let the sizes decide."
            )

    def run(self, cell, params, state, zs):
        project, readout = (lambda params, z: z), (lambda params, state, z: state)
        return self._unroll(cell, project, readout, params, zs, state)

    def unroll(self, cell, params, xs, state):
        return self._unroll(cell, cell.project, cell.readout, params, xs, state)

    def advise(self, cell, params, state, xs):
        step, z = self._cut(cell, cell.project, params, state, xs)
        if step.products or _numbers(z) > _numbers(state):
            return ""
        return (
            f"{cell} has no product to hoist and projects no more than its state, for "
            "which a scan was measured faster"
        )

    def describe(self, cell, params, state, xs):
        count = len(self._cut(cell, cell.project, params, state, xs)[0].products)
        if count == 0:
            return (
                "no product with parameters to hoist: the whole step stays in the loop"
            )
        products = "products" if count > 1 else "product"
        leave = "leave" if count > 1 else "leaves"
        return f"{count} {products} with parameters {leave} the loop"

    def _unroll(self, cell, project, readout, params, xs, state):
        # a step is cut with the types that its arrays have in the loop
        params, xs, state = aligned((params, xs, state))
        step, z = self._cut(cell, project, params, state, xs)
        time = jax.tree.leaves(xs)[0].shape[0]
        run = Recurrence(
            project,
            readout,
            step,
            ahead=_divisor(time, min(time, _AHEAD)),
            block=self._block(time, z),
            recompute=self.recompute,
            passed=passed(readout, params, state, z),
        )
        return run(params, xs, state)

    def _cut(self, cell, project, params, state, xs):
        """`recur`, cut, and what a step of a batch projects."""
        x = jax.tree.map(lambda x: x[0], xs)
        z = jax.eval_shape(lambda p, x: jax.vmap(partial(project, p))(x), params, x)
        return cut(jax.vmap(cell.recur, in_axes=(None, 0, 0)), params, state, z), z

    def _block(self, time, z):
        if self.block is not None:
            return min(self.block, time)
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(z))
        steps = min(max(_BYTES // max(1, size), _FEWEST), _MOST)
        return _divisor(time, min(time, steps))


_AHEAD = 8
"""Steps that are one block, forwards: no loop runs inside it, so that it costs compile time."""

_BYTES, _FEWEST, _MOST = 2 * 2**20, 8, 64
"""Of what `project` gives for a block, backwards, which should lie in a cache; and steps."""


def _numbers(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _divisor(time: int, block: int) -> int:
    """A divisor of `time` not far below `block`, if there is one: no rest is left then."""
    near = range(block, block // 2, -1)
    return next((b for b in near if time % b == 0), block)
