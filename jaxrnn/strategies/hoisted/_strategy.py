"""The schedule of cuDNN, derived from the cell: what needs no loop leaves it.

Appleyard, Kocisky, Blunsom, "Optimizing performance of recurrent neural networks on GPUs"
(2016), arXiv:1604.01946.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from ..._sharding import aligned
from .._base import Plan, Strategy
from ._outputs import outputs_of_state
from ._partition import partition
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
        step, z = _partitioned(cell, project, params, state, zs)
        return self._run(project, readout, step, z, params, state, zs)

    def unroll(self, cell, params, state, xs):
        return self.plan(cell, params, state, xs).unroll(params, state, xs)

    def plan(self, cell, params, state, xs):
        # the step is traced with the types that its arrays have in the loop
        step, z = _partitioned(cell, cell.project, *aligned((params, state, xs)))
        run = partial(self._run, cell.project, cell.readout, step, z)
        return Plan(self, run, _how(len(step.products)), _skip(step, z, state))

    def _run(self, project, readout, step, z, params, state, xs):
        params, state, xs = aligned((params, state, xs))
        time = jax.tree.leaves(xs)[0].shape[0]
        run = Recurrence(
            project,
            readout,
            step,
            forward_block=_divisor(time, min(time, _FORWARD_BLOCK)),
            block=self._block(time, z),
            recompute=self.recompute,
            state_outputs=outputs_of_state(readout, params, state, z),
        )
        return run(params, state, xs)

    def _block(self, time, z):
        if self.block is not None:
            return min(self.block, time)
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(z))
        steps = min(max(_BYTES // max(1, size), _FEWEST), _MOST)
        return _divisor(time, min(time, steps))


_FORWARD_BLOCK = 8
"""Steps that are one block, forwards: no loop runs inside it, so that it costs compile time."""

_BYTES, _FEWEST, _MOST = 2 * 2**20, 8, 64
"""Of what `project` gives for a block, backwards, which should lie in a cache; and steps."""


def _partitioned(cell, project, params, state, xs):
    """`recur` of a batch, split at its products, and the result of `project` for a step."""
    x = jax.tree.map(lambda x: x[0], xs)
    z = jax.eval_shape(lambda p, x: jax.vmap(partial(project, p))(x), params, x)
    return partition(jax.vmap(cell.recur, in_axes=(None, 0, 0)), params, state, z), z


def _how(count: int) -> str:
    if count == 0:
        return "no matmul with parameters to hoist: the whole step stays in the loop"
    matmuls, leave = ("matmuls", "leave") if count > 1 else ("matmul", "leaves")
    return f"{count} {matmuls} with parameters {leave} the loop"


def _skip(step: Any, z: Any, state: Any) -> str:
    if step.products or _numbers(z) > _numbers(state):
        return ""
    return (
        "it has no matmul to hoist and projects no more numbers than its state has; there "
        "a scan was measured faster"
    )


def _numbers(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _divisor(time: int, block: int) -> int:
    """A divisor of `time` not far below `block`, if there is one: no rest is left then."""
    near = range(block, block // 2, -1)
    return next((b for b in near if time % b == 0), block)
