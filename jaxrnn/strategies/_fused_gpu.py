"""`Fused` on a GPU: the loops of a cell as Pallas kernels around its own `recur`.

The schedule is `Hoisted`'s: `recur` is cut at its matmuls with parameters, the backward pass
recomputes the results of all matmuls at once, and takes the gradients of the weights after
its loop. Both loops are `kernels.pallas_gpu.scan`. Nothing is written for each cell: the
element-wise part is traced, and evaluated by the units that a block of threads owns.

The kernels were compiled for the H100 and simulated on a CPU. They never ran on a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._layer import LinearCell, MatrixCell
from .._sharding import aligned
from ..kernels import pallas_gpu
from ._base import Plan, Refused, unmasked
from .hoisted._leaves import Split, split
from .hoisted._outputs import outputs_of_state
from .hoisted._partition import Matmul, PartitionedStep, partition
from .hoisted._recurrence import Recurrence


_SKIP = "its kernels were compiled for the H100 and simulated, but never run on a GPU"


class _StepGradients(NamedTuple):
    """The gradients of each step: of the state after it, of z and of the matmuls' results."""

    states: list[jax.Array]
    zs: list[jax.Array]
    products: list[jax.Array]


@dataclass(frozen=True, eq=False)
class GpuRecurrence(Recurrence):
    """A recurrence whose two loops are kernels."""

    def _run_steps(self, hoisted, state, zs):
        call = _Forward(self.step, state)
        after, states = pallas_gpu.scan(*call.arguments(hoisted, state, zs))
        return after, (states, ())

    def _reverse_loop(self, hoisted, d_state, before, zs, products, d_states):
        call = _Backward(self.step)
        steps = (before, zs, list(products), d_states)
        given = call.arguments(hoisted, d_state, steps)
        d_state, unique = pallas_gpu.scan(*given, reverse=True)
        return d_state, call.joined(unique)


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
    _structure: Any = None
    _places: list[int] = field(default_factory=list)

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
        pull, shapes = self._pull(rest, before, z, products)
        d_operands = [jnp.zeros(a.shape, a.dtype) for a in shapes]
        # The operand of a matmul depends on the results of earlier matmuls only. So dy of the
        # last one is known first, then da = dy w^T, then dy of the one before it.
        asked = []
        for i, da in zip(reversed(range(len(shapes))), found, strict=True):
            asked.append(pull((d_operands, total))[2][i])
            d_operands[i] = da
        d_before, d_z, d_products = pull((d_operands, total))
        made = _StepGradients(total if self.step.rest else [], d_z, d_products)
        # in many cells dz and dy are the same array: it is written once
        leaves, self._structure = jax.tree.flatten(made)
        unique = {id(d): d for d in leaves}
        self._places = [list(unique).index(id(d)) for d in leaves]
        return asked, d_before, list(unique.values())

    def joined(self, unique: list[jax.Array]) -> _StepGradients:
        return jax.tree.unflatten(self._structure, [unique[i] for i in self._places])

    def _pull(self, rest, before, z, products):
        """The vjp of one step with its matmuls taken out, and the shapes of operands."""
        of_state, of_z = split(before), split(z)
        shapes: list[jax.Array] = []

        def step(state_leaves, z_leaves, products):
            operands: list[jax.Array] = []
            state = Split(state_leaves, of_state.exact).joined(before)
            inputs = Split(z_leaves, of_z.exact).joined(z)
            after = _step(self.step, rest, state, inputs, products, operands)
            shapes[:] = operands
            return operands, split(after).inexact

        pull = jax.vjp(step, of_state.inexact, of_z.inexact, list(products))[1]
        return pull, shapes


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


def plan(strategy: Any, cell: Any, params: Any, state: Any, xs: Any) -> Plan:
    """The plan to run a cell; `Auto` skips it.

    Raises:
        NotImplementedError: with the reason, if the step cannot be divided over units, or if
            the weights do not fit.
    """
    leaves, structure = jax.tree.flatten((params, state, xs))
    types = tuple((x.shape, x.dtype) for x in leaves)
    if reason := _refusal(cell, structure, types):
        raise Refused(strategy, cell, reason)
    step, z = _partitioned(cell, *aligned((params, state, xs)))

    def run(params, state, xs):
        params, state, xs = aligned((params, state, xs))
        time = jax.tree.leaves(xs)[0].shape[0]
        block = _block(time, z)
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

    how = f"the recurrence in one Pallas kernel per pass; {_SKIP}"
    return Plan(strategy, run, how, skip=_SKIP)


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


@lru_cache(maxsize=256)
def _refusal(cell: Any, structure: Any, types: Any) -> str:
    """A reason why a cell has no kernel; empty if it has. It is found by shapes alone."""
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
    pallas_gpu.check(*_Backward(step).arguments(hoisted, d_state, steps))
