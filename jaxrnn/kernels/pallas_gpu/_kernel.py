"""The kernel: one cluster of blocks for each tile of sequences, for the whole sequence.

Block `j` keeps the columns of the weights of its own units in shared memory, and their state
in registers. In a step, each matmul is

    stage    own units of the operand -> shared memory -> exchange buffer in global memory
    barrier  of the cluster: all units of the operand are there
    load     tiles of the operand -> shared memory, several in flight
    wgmma    tile x own columns of the weight, accumulated in float32 registers

and all other operations run on pieces in registers. The exchange buffer has two slots, used
in turn, so one barrier a matmul is enough: a block writes a slot again only after the barrier
of the next step, which no block reaches before it has read the slot.

This module needs Mosaic GPU, which JAX imports only where its dependencies are installed, so
it is imported where a kernel is built.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jax.extend.core import ClosedJaxpr

from ._pieces import Columns, Evaluator, NotByUnit, Sizes, Uniform, Value, Vector, vector_axis
from ._plan import ROWS, Plan


BATCH, UNITS = "batch", "units"
"""The axes of the grid, tiles of sequences, and of a cluster, blocks of units."""


@dataclass(frozen=True, eq=False)
class Step:
    """One traced step, and the kinds of its arguments.

    Attributes:
        traced: `(constants, carry, x, products) -> (operands, carry', y)`, all flat.
        counts: the number of constants, leaves of the carry, of x, and of products.
        weights: the shapes of the weights.
        dtype: the dtype of the weights and operands.
        sizes: the sizes of the step and of its pieces.
        barrier: False leaves out the barrier of the cluster, for a test of the race detector.
    """

    traced: ClosedJaxpr
    counts: tuple[int, int, int, int]
    weights: tuple[tuple[int, int], ...]
    dtype: Any
    sizes: Sizes
    barrier: bool = True

    def avals(self, which: int) -> list[Any]:
        start = sum(self.counts[:which])
        return self.traced.in_avals[start : start + self.counts[which]]

    @property
    def out_avals(self) -> tuple[list[Any], list[Any], list[Any]]:
        """Those of the operands, of the carry and of y."""
        avals, n, c = self.traced.out_avals, self.counts[3], self.counts[1]
        return avals[:n], avals[n : n + c], avals[n + c :]


def fence_between_blocks() -> None:
    """Orders what this block wrote before a barrier, and what it reads after it.

    The barrier of a cluster orders memory for the block alone by default, and loads by the
    copy engine are not ordered with it: PTX ISA, "fence.acq_rel" and "fence.proxy.async".
    """

    @plgpu.inline_mgpu()
    def fence(ctx):
        from jax.experimental.mosaic.gpu import utils

        del ctx
        utils.inline_ptx(
            "fence.acq_rel.cluster; fence.proxy.async;", has_side_effects=True
        )

    fence()


class Refs:
    """The arrays of one kernel in global and shared memory, in the order of its arguments."""

    def __init__(self, step: Step, refs: Sequence[Any]) -> None:
        n_const, n_carry, n_x, n = step.counts
        n_y, found = len(step.out_avals[2]), iter(refs)
        take = lambda count: [next(found) for _ in range(count)]
        self.constants, self.carry, self.xs = take(n_const), take(n_carry), take(n_x)
        self.weights = take(n)
        self.ys, self.last, self.exchange = take(n_y), take(n_carry), take(n)
        self.kept = take(n)
        if n:
            self.slots, self.stage = take(2)
            self.loaded, self.arrived, self.met = take(3)


def scratch(step: Step, plan: Plan) -> list[Any]:
    """The shared memory and the barriers of a block."""
    if not step.weights:
        return []
    # the layout that wgmma reads: tiles of 8 rows of 128 bytes
    layout = (plgpu.TilingTransform((8, plan.atom)), plgpu.SwizzleTransform(128))
    kept = [
        plgpu.SMEM((n // plan.hidden * plan.units, k), step.dtype, transforms=layout)
        for k, n in step.weights
    ]
    pieces = max(k // plan.hidden for k, _ in step.weights)
    return [
        *kept,
        plgpu.SMEM((plan.slots, ROWS, plan.atom), step.dtype, transforms=layout),
        plgpu.SMEM((pieces, ROWS, plan.units), step.dtype),
        plgpu.Barrier(),
        plgpu.Barrier(num_barriers=plan.slots),
        plgpu.ClusterBarrier(collective_axes=(UNITS,)),
    ]


class Block:
    """What one block of threads does."""

    def __init__(self, step: Step, plan: Plan, refs: Refs) -> None:
        self.step, self.plan, self.refs = step, plan, refs
        self.block = lax.axis_index(UNITS)
        self.rows = pl.ds(lax.axis_index(BATCH) * ROWS, ROWS)

    def columns(self, piece: int) -> Any:
        """The own units of a piece, in a matrix `(B, k H)`."""
        units = self.plan.units
        return pl.ds(piece * self.plan.hidden + self.block * units, units)

    def run(self, time: int, reverse: bool) -> None:
        for ref, kept in zip(self.refs.weights, self.refs.kept, strict=True):
            plgpu.copy_gmem_to_smem(ref.at[self.block], kept, self.refs.loaded)
            plgpu.barrier_wait(self.refs.loaded)
        carry = []
        for ref, aval in zip(self.refs.carry, self.step.avals(1), strict=True):
            carry.append(self.matrix(ref, aval).pieces)

        def body(i, carry):
            return self.one_step(time - 1 - i if reverse else i, lax.rem(i, 2), carry)

        carry = lax.fori_loop(0, time, body, carry)
        for ref, pieces in zip(self.refs.last, carry, strict=True):
            self.store(ref, pieces)

    def one_step(self, t: Any, slot: Any, carry: list[tuple]) -> list[tuple]:
        refs, step = self.refs, self.step
        constants = [
            self.reader(ref, a)
            for ref, a in zip(refs.constants, step.avals(0), strict=True)
        ]
        state = [lambda pieces=pieces: Columns(pieces) for pieces in carry]
        xs = [
            self.reader(r.at[t], a) for r, a in zip(refs.xs, step.avals(2), strict=True)
        ]
        products = [lambda i=i: self.product(i, slot, found) for i in range(step.counts[3])]
        inputs = [*constants, *state, *xs, *products]
        found = Evaluator(step.traced, inputs, step.sizes)
        n, c, y = map(len, step.out_avals)
        width = lambda i: step.traced.out_avals[i].shape[-1] // step.sizes.hidden
        outputs = [
            tuple(
                p.astype(step.traced.out_avals[i].dtype)
                for p in found.full(found.output(i), width(i))
            )
            for i in range(n, n + c + y)
        ]
        for ref, pieces in zip(refs.ys, outputs[c:], strict=True):
            self.store(ref.at[t], pieces)
        return outputs[:c]

    def reader(self, ref: Any, aval: Any) -> Callable[[], Value]:
        """A function that loads an argument of the step, when it is first used."""
        if self.step.sizes.columns(aval.shape):
            return lambda: self.matrix(ref, aval)
        if aval.shape:
            load = lambda axis: self.vector(ref, aval, axis)
            return lambda: Vector(load, vector_axis(aval.shape))
        return lambda: Uniform(_as(ref[0], aval.dtype))

    def matrix(self, ref: Any, aval: Any) -> Columns:
        count = self.step.sizes.columns(aval.shape)
        layout = plgpu.Layout.WGMMA
        load = lambda g: plgpu.load(
            ref.at[self.rows, self.columns(g)], layout=layout, optimized=False
        )
        return Columns(tuple(_as(load(g), aval.dtype) for g in range(count)))

    def vector(self, ref: Any, aval: Any, axis: str) -> tuple[Any, ...]:
        sizes = self.step.sizes
        if axis == "rows":
            if aval.size != sizes.batch:
                raise NotByUnit(f"an array {aval.shape} has no value per sequence")
            layout, parts = plgpu.Layout.WGMMA.reduce(1), [self.rows]
        else:
            layout = plgpu.Layout.WGMMA.reduce(0)
            parts = [self.columns(g) for g in range(aval.size // sizes.hidden)]
        load = lambda part: plgpu.load(ref.at[part], layout=layout, optimized=False)
        return tuple(_as(load(part), aval.dtype) for part in parts)

    def store(self, ref: Any, pieces: tuple[Any, ...]) -> None:
        for g, piece in enumerate(pieces):
            plgpu.store(ref.at[self.rows, self.columns(g)], piece, optimized=False)

    def product(self, i: int, slot: Any, found: Evaluator) -> Columns:
        """The own units of the i-th matmul of a step."""
        (k, n), units = self.step.weights[i], self.plan.units
        operand = found.full(found.output(i), k // self.plan.hidden)
        self.give(self.refs.exchange[i].at[slot], operand)
        source = self.refs.exchange[i].at[slot, self.rows]
        columns = n // self.plan.hidden * units
        multiply = lambda acc: self.multiply(acc, source, self.refs.kept[i], k)
        y = pl.run_scoped(multiply, plgpu.ACC((ROWS, columns), jnp.float32))
        dtype = self.step.avals(3)[i].dtype
        parts = [y[:, g * units : (g + 1) * units] for g in range(columns // units)]
        return Columns(tuple(part.astype(dtype) for part in parts))

    def give(self, target: Any, operand: tuple[Any, ...]) -> None:
        """Writes the own units of an operand, and waits for those of all other blocks."""
        for g, piece in enumerate(operand):
            plgpu.store(self.refs.stage.at[g], piece, optimized=False)
        plgpu.commit_smem()
        for g in range(len(operand)):
            part = target.at[self.rows, self.columns(g)]
            plgpu.copy_smem_to_gmem(self.refs.stage.at[g], part)
        plgpu.wait_smem_to_gmem(0)
        fence_between_blocks()
        if self.step.barrier:
            plgpu.barrier_arrive(self.refs.met)
            plgpu.barrier_wait(self.refs.met)
        fence_between_blocks()

    def multiply(self, acc: Any, source: Any, kept: Any, k: int) -> Any:
        """Sums tile x weight over the tiles of the operand, with loads ahead of use."""
        atom, slots, refs = self.plan.atom, self.plan.slots, self.refs
        count = k // atom

        def load(c):
            part = source.at[:, pl.ds(c * atom, atom)]
            to, barrier = refs.slots.at[c % slots], refs.arrived.at[c % slots]
            plgpu.copy_gmem_to_smem(part, to, barrier)

        for c in range(min(slots, count)):
            load(c)
        for c in range(count):
            plgpu.barrier_wait(refs.arrived.at[c % slots])
            weight = kept.at[:, pl.ds(c * atom, atom)].T
            plgpu.wgmma(acc, refs.slots.at[c % slots], weight)
            if c + slots < count:
                plgpu.wgmma_wait(0)  # the slot is free once its matmul has read it
                load(c + slots)
        plgpu.wgmma_wait(0)
        return acc[...]


def _as(loaded: Any, dtype: Any) -> Any:
    """A loaded value; booleans are stored as integers, since memory has no single bits."""
    return loaded != 0 if dtype == jnp.bool_ else loaded
