"""`Hoisted`: the schedule of cuDNN for any cell, derived from its `recur`.

Appleyard, Kocisky, Blunsom, "Optimizing performance of recurrent neural networks on GPUs"
(2016), arXiv:1604.01946.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from ..._partition import partition
from ..._sharding import aligned
from ..._validate import check_steps
from .._base import Plan, Strategy
from .._blocks import divisor
from ._outputs import outputs_of_state
from ._recurrence import Recurrence


@dataclass(frozen=True)
class Hoisted(Strategy):
    """A scan whose backward pass has one matmul for each weight in the loop.

    `recur` is traced once and partitioned at its matmuls with parameters, nested ones
    included. The forward pass stores only the states. In the backward pass, with `S` the
    states before each step, `f` the element-wise part and `y = s u` a matmul,

        Y    = S u                           one matmul over time and batch
        ds   = f'(s_t, z_t, y_t)^T ds        the reverse loop, with one matmul, dy u^T
        du   = S^T dY                        one matmul, summed in float32

    where `jax.grad` of a scan has two matmuls and a sum of whole weights in every step. All
    of this, and the projection, runs in blocks of time steps, so that only the states are
    stored for the whole sequence. Parameters that are used element-wise get their gradients
    after the loop of each block. A cell without such matmuls works as well: its whole step
    stays in the loop.

    In forward mode, and in derivatives of gradients, it runs as `Scan()`.

    Args:
        block: steps in a block of the backward pass; None takes as many as fit a few
            megabytes.
        recompute: False stores the results of the matmuls in the forward pass, about as
            many numbers as `project` returns, instead of recomputing them.

    Raises:
        ValueError: if `block` is not an integer of at least 1.

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
        check_steps(self, "block", "to choose it by the sizes")

    def run(self, cell, params, state, zs):
        # the inputs are projected already, and all states are asked for
        project, readout = (lambda params, z: z), (lambda params, state, z: state)
        step, z = _partitioned(cell, project, params, state, zs)
        return self._run(project, readout, step, z, params, state, zs)

    def unroll(self, cell, params, state, xs):
        return self.plan(cell, params, state, xs).unroll(params, state, xs)

    def plan(self, cell, params, state, xs):
        # the step is traced with the types that its arrays will have in the loop
        step, z = _partitioned(cell, cell.project, *aligned((params, state, xs)))
        run = partial(self._run, cell.project, cell.readout, step, z)
        return Plan(self, run, _how(len(step.matmuls)), _skip(step, z, state))

    def _run(self, project, readout, step, z, params, state, xs):
        params, state, xs = aligned((params, state, xs))
        time = jax.tree.leaves(xs)[0].shape[0]
        run = Recurrence(
            project,
            readout,
            step,
            forward_block=divisor(time, min(time, _FORWARD_BLOCK)),
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
        return divisor(time, min(time, steps))


_FORWARD_BLOCK = 8
"""Steps in a block of the forward pass, which is unrolled and costs compile time."""

_BYTES, _FEWEST, _MOST = 2 * 2**20, 8, 64
"""The size that a block's projected inputs should have in the backward pass, to fit a
cache, and the least and the largest number of steps in a block."""


def _partitioned(cell, project, params, state, xs):
    """`recur` for a batch, partitioned at its matmuls, and one step's projected input."""
    x = jax.tree.map(lambda x: x[0], xs)
    z = jax.eval_shape(lambda p, x: jax.vmap(partial(project, p))(x), params, x)
    return partition(jax.vmap(cell.recur, in_axes=(None, 0, 0)), params, state, z), z


def _how(count: int) -> str:
    if count == 0:
        return "no matmul with parameters to hoist: the whole step stays in the loop"
    matmuls, leave = ("matmuls", "leave") if count > 1 else ("matmul", "leaves")
    return f"{count} {matmuls} with parameters {leave} the loop"


def _skip(step: Any, z: Any, state: Any) -> str:
    if step.matmuls or _numbers(z) > _numbers(state):
        return ""
    return (
        "the cell has no matmul to hoist, and its projection is not larger than its state; "
        "a plain scan was measured to be faster there"
    )


def _numbers(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
