"""`Fused` on a GPU: the loops of a cell as Pallas kernels around its own `recur`.

The schedule is `Hoisted`'s: `recur` is cut at its matmuls with parameters, the backward pass
recomputes the results of all matmuls at once, and takes the gradients of the weights after
its loop. Both loops are `kernels.pallas_gpu.scan`. Nothing is written for each cell: the
element-wise part is traced, and evaluated by the units that a block of threads owns.

The kernels were compiled for the H100 and simulated on a CPU. They never ran on a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..._layer import LinearCell, MatrixCell
from ..._partition import Matmul, PartitionedStep, partition
from ..._sharding import aligned
from ...kernels import pallas_gpu
from .._base import Refused, unmasked
from ..hoisted._leaves import split
from ..hoisted._outputs import outputs_of_state
from ..hoisted._recurrence import Recurrence
from ..hoisted._step_gradients import StepGradients, Unique, pull_step


EVIDENCE = "compiled for the H100 and simulated, but never run on a GPU"
HOW = f"the recurrence in one Pallas kernel for each pass; {EVIDENCE}"
SKIP = f"its kernels were {EVIDENCE}"
"""The reason for `Auto` to pass it over."""


@dataclass(frozen=True, eq=False)
class GpuRecurrence(Recurrence):
    """A recurrence whose two loops are kernels."""

    def _run_steps(self, hoisted, state, zs):
        call = _Forward(self.step, state)
        after, states = pallas_gpu.scan(*call.arguments(hoisted, state, zs))
        return after, (states, ())

    def _reverse_loop(self, hoisted, d_state, before, zs, products, d_states):
        found = Unique()
        call = _Backward(self.step, found)
        steps = (before, zs, list(products), d_states)
        given = call.arguments(hoisted, d_state, steps)
        d_state, unique = pallas_gpu.scan(*given, reverse=True)
        return d_state, found.joined(unique)


@dataclass(eq=False)
class _Forward:
    """The forward loop, as the arguments of `scan`."""

    step: PartitionedStep
    state: Any

    def arguments(self, hoisted, state, zs):
        z = jax.tree.map(_first, zs)
        shapes = _products(self.step, hoisted, state, z)
        weights = dict(zip(self.step.weights, hoisted[0], strict=True))
        matmuls = [
            pallas_gpu.Matmul(_as_matrix(m, weights[m.weight]), y.dtype)
            for m, y in zip(self.step.matmuls, shapes[1], strict=True)
        ]
        return self.body, matmuls, hoisted[1], state, zs

    def body(self, rest, state, z, products):
        operands: list[jax.Array] = []
        after = _step(self.step, rest, state, z, products, operands)
        return operands, after, after


@dataclass(eq=False)
class _Backward:
    """The reverse loop, as the arguments of `scan`, with transposed matmuls in reverse."""

    step: PartitionedStep
    found: Unique

    def arguments(self, hoisted, d_state, steps):
        before, z = jax.tree.map(_first, steps[:2])
        operands, _ = _products(self.step, hoisted, before, z)
        weights = dict(zip(self.step.weights, hoisted[0], strict=True))
        matmuls = [
            pallas_gpu.Matmul(_as_matrix(m, weights[m.weight]).T, a.dtype)
            for m, a in zip(self.step.matmuls, operands, strict=True)
        ]
        return self.body, matmuls[::-1], hoisted[1], d_state, steps

    def body(self, rest, d_after, steps, found):
        before, z, products, d_own = steps
        total = [
            d if own is None else d + own for d, own in zip(d_after, d_own, strict=True)
        ]
        hoisted = [None] * len(self.step.weights), rest
        pull, shapes = pull_step(self.step, hoisted, before, z, products)
        d_operands = [jnp.zeros(a.shape, a.dtype) for a in shapes]
        # The operand of a matmul depends on the results of earlier matmuls only. So dy of the
        # last one is known first, then da = dy w^T, then dy of the one before it.
        asked = []
        for i, da in zip(reversed(range(len(shapes))), found, strict=True):
            asked.append(pull((d_operands, total))[2][i])
            d_operands[i] = da
        d_before, d_z, d_products = pull((d_operands, total))
        made = StepGradients(total if self.step.rest else [], d_z, d_products)
        return asked, d_before, self.found.stacked(made)


def _step(step, rest, state, z, products, operands):
    """The next state for known results of the matmuls, whose operands are collected."""

    def multiply(i, matmul, a, w):
        del matmul, w
        operands.append(a)
        return products[i]

    return step.step(([None] * len(step.weights), rest), state, z, multiply)


def _products(step, hoisted, state, z) -> tuple[list, list]:
    """The shapes of the operands and of the results of the matmuls of a step."""

    def run(hoisted, state, z):
        operands, results = [], []

        def multiply(i, matmul, a, w):
            del i
            operands.append(a)
            results.append(matmul.of(a, w))
            return results[-1]

        step.step(hoisted, state, z, multiply)
        return operands, results

    return jax.eval_shape(run, hoisted, state, z)


def _first(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape[1:], x.dtype)


def _as_matrix(matmul: Matmul, w: jax.Array) -> jax.Array:
    """The weight as `(K, N)`, for an operand `(B, K)` on its left."""
    contracting, batch = matmul.params["dimension_numbers"]
    if matmul.side != 1 or any(batch) or contracting[0] != (1,) or w.ndim != 2:
        raise pallas_gpu.NotByUnit(
            f"a matmul with a weight {w.shape} is not (B, K) by (K, N), as with "
            "several heads"
        )
    precision = matmul.params["precision"]
    wanted = set(precision if isinstance(precision, Sequence) else (precision,))
    if w.dtype == jnp.float32 and not wanted <= {None, lax.Precision.DEFAULT}:
        raise pallas_gpu.NotByUnit(
            f"its matmuls ask for the precision {precision}, and the kernel multiplies "
            "float32 as TensorFloat-32 only"
        )
    return w if contracting[1] == (0,) else w.T


def unroll(
    strategy: Any, cell: Any, params: Any, state: Any, xs: Any
) -> tuple[Any, Any]:
    """`(state, ys)` of a cell.

    Raises:
        NotImplementedError: with the reason, if the step cannot be divided over units, or if
            the weights do not fit.
    """
    leaves, structure = jax.tree.flatten((params, state, xs))
    types = tuple((x.shape, x.dtype) for x in leaves)
    if reason := _refusal(cell, structure, types, _precision()):
        raise Refused(strategy, cell, reason)
    params, state, xs = aligned((params, state, xs))
    step, z = _partitioned(cell, params, state, xs)
    block = _block(jax.tree.leaves(xs)[0].shape[0], z)
    recurrence = GpuRecurrence(
        cell.project,
        cell.readout,
        step,
        forward_block=block,
        block=block,
        recompute=True,
        state_outputs=outputs_of_state(cell.readout, params, state, z),
    )
    return recurrence(params, state, xs)


def _partitioned(cell, params, state, xs):
    x = jax.tree.map(lambda x: x[0], xs)
    z = jax.eval_shape(jax.vmap(cell.project, (None, 0)), params, x)
    return partition(jax.vmap(cell.recur, (None, 0, 0)), params, state, z), z


_BYTES = 256 * 2**20
"""The size of the projected inputs of a block: each block is one kernel, which loads the
weights once, and its temporary arrays have a few times this size."""


def _block(time: int, z: Any) -> int:
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(z))
    return min(time, max(1, _BYTES // max(1, size)))


def _precision() -> str:
    config: Any = jax.config
    return str(config.jax_default_matmul_precision)


@lru_cache(maxsize=256)
def _refusal(cell: Any, structure: Any, types: Any, precision: str) -> str:
    """A reason why a cell has no kernel; empty if it has. It is found by shapes alone."""
    del precision  # a key of the cache: the matmuls are traced with it
    own = unmasked(cell)
    if isinstance(own, LinearCell | MatrixCell):
        return "it is linear in its state; Chunked() runs it in parallel over time"
    if reason := pallas_gpu.missing():
        return reason
    given = [jax.ShapeDtypeStruct(*of_one) for of_one in types]
    params, state, xs = jax.tree.unflatten(structure, given)
    try:
        jax.eval_shape(lambda *args: _check(cell, *args), params, state, xs)
    except (pallas_gpu.NotByUnit, pallas_gpu.DoesNotFit) as reason:
        return str(reason)
    return ""


def _check(cell, params, state, xs):
    """Makes the plans of both loops, and traces both steps on pieces."""
    step, z = _partitioned(cell, params, state, xs)
    hoisted = step.hoist(params)
    one = lambda x: jnp.zeros((1, *x.shape), x.dtype)
    zs, before = jax.tree.map(one, (z, state))
    pallas_gpu.check(*_Forward(step, state).arguments(hoisted, state, zs))
    _, products = _products(step, hoisted, state, z)
    d_state = split(state).inexact
    steps = (before, zs, jax.tree.map(one, products), [one(d) for d in d_state])
    pallas_gpu.check(*_Backward(step, Unique()).arguments(hoisted, d_state, steps))
