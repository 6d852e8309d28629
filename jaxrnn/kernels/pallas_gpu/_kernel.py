"""The kernel: one cluster of blocks for each tile of sequences, for the whole sequence.

Block `j` keeps the columns of the weights of its own units in shared memory, and their state
in registers. The units of a block are strips of 8 or 16, whose element-wise operations run
one strip after the other, so that few values need registers at a time. In a step, each matmul
is

    stage    own units of the operand -> shared memory -> exchange buffer in global memory
    barrier  of the cluster: all units of the operand are there
    load     tiles of the operand -> shared memory, several in flight
    wgmma    tile x own columns of the weight, accumulated in float32 registers

The exchange buffer has two slots, used by alternate steps, so one barrier a matmul is enough:
a block writes a slot again only after the barrier of the next step, which no block reaches
before it has read the slot.

Blocks of different clusters never wait for each other. A GPU runs a cluster as a whole, so
this needs no promise that the whole grid is resident, and JAX's simulator, which runs one
cluster after the other, can check all waiting. It does not check the fences between blocks,
nor the wait for a wgmma.
"""

import importlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from . import _mosaic as plgpu
from ._plan import ROWS, Plan
from ._strip import BATCH, GROUPS, UNITS, Step, Strip
from ._tf32 import rounded


def fence_between_blocks() -> None:
    """Orders what this block wrote before a barrier, and what it reads after it.

    The barrier of a cluster orders memory for the block alone by default, and loads by the
    copy engine are not ordered with it: PTX ISA, "fence.acq_rel" and "fence.proxy.async".
    """

    @plgpu.inline_mgpu()
    def fence(ctx):
        del ctx
        utils = importlib.import_module("jax.experimental.mosaic.gpu.utils")
        fences = "fence.acq_rel.cluster; fence.proxy.async;"
        utils.inline_ptx(fences, has_side_effects=True)

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
            self.loaded, self.arrived, self.free, self.met = take(4)


def scratch(step: Step, plan: Plan) -> list[Any]:
    """The shared memory and the barriers of a block."""
    if not step.weights:
        return []
    # the layout that wgmma reads: tiles of 8 rows of 128 bytes
    layout = (plgpu.TilingTransform((8, plan.atom)), plgpu.SwizzleTransform(128))
    kept = [
        plgpu.SMEM(
            (plan.groups, n // plan.hidden * plan.units, k),
            step.dtype,
            transforms=layout,
        )
        for k, n in step.weights
    ]
    pieces = max(k // plan.hidden for k, _ in step.weights)
    return [
        *kept,
        plgpu.SMEM((plan.slots, ROWS, plan.atom), step.dtype, transforms=layout),
        plgpu.SMEM((plan.groups, pieces, ROWS, plan.units), step.dtype),
        plgpu.Barrier(num_arrivals=plan.groups * len(step.weights)),
        plgpu.Barrier(num_barriers=plan.slots),
        plgpu.Barrier(num_barriers=plan.slots, num_arrivals=plan.groups),
        plgpu.ClusterBarrier(collective_axes=(UNITS,), num_arrivals=plan.groups),
    ]


class Block:
    """What one warpgroup of a block does."""

    def __init__(self, step: Step, plan: Plan, refs: Refs) -> None:
        self.step, self.plan, self.refs = step, plan, refs
        self.block = lax.axis_index(UNITS)
        self.rows = pl.ds(lax.axis_index(BATCH) * ROWS, ROWS)
        self.group = lax.axis_index(GROUPS)
        self.first = first = (self.block * plan.groups + self.group) * plan.units
        count = plan.units // plan.strip
        self.strips = [
            Strip(step, self.rows, first + i * plan.strip) for i in range(count)
        ]

    def run(self, time: int, reverse: bool) -> None:
        # one phase of one barrier for all loads: a warpgroup must not miss a whole phase
        for ref, kept in zip(self.refs.weights, self.refs.kept, strict=True):
            for group in range(self.plan.groups):
                part = ref.at[self.block, group]
                self.load(part, kept.at[group], self.refs.loaded)
        if self.refs.weights:
            plgpu.barrier_wait(self.refs.loaded)
        avals = self.step.avals(1)
        carry = [
            [s.matrix(r, a).pieces for r, a in zip(self.refs.carry, avals, strict=True)]
            for s in self.strips
        ]

        def body(i, carry):
            return self.one_step(time - 1 - i if reverse else i, lax.rem(i, 2), carry)

        carry = lax.fori_loop(0, time, body, carry)
        for strip, leaves in zip(self.strips, carry, strict=True):
            for ref, pieces in zip(self.refs.last, leaves, strict=True):
                strip.store(ref, pieces)

    def load(self, source: Any, target: Any, barrier: Any) -> None:
        """Starts a copy to shared memory, for all warpgroups of the block."""

        @pl.when(self.group == 0)
        def _():
            plgpu.copy_gmem_to_smem(source, target, barrier)

    def one_step(self, t: Any, slot: Any, carry: list) -> list:
        """The carry of each strip after the step."""
        refs = self.refs
        products = Products(self, slot)
        xs = [ref.at[t] for ref in refs.xs]
        ys = [ref.at[t] for ref in refs.ys]
        for place, (strip, leaves) in enumerate(zip(self.strips, carry, strict=True)):
            strip.begin(refs.constants, leaves, xs, products.of(place), ys)
        return [strip.end() for strip in self.strips]


class Products:
    """The matmuls of one step, each computed when a strip first asks for its result."""

    def __init__(self, block: Block, slot: Any) -> None:
        self.block, self.slot = block, slot
        self.found: dict[int, jax.Array] = {}

    def of(self, strip: int) -> list[Any]:
        """For each matmul, a function that returns the columns of one strip of the result."""

        def read(i):
            plan, step = self.block.plan, self.block.step
            if i not in self.found:
                self.found[i] = self.multiply(i)
            gates = step.weights[i][1] // plan.hidden
            starts = [g * plan.units + strip * plan.strip for g in range(gates)]
            dtype = step.avals(3)[i].dtype
            y = self.found[i]
            return tuple(y[:, s : s + plan.strip].astype(dtype) for s in starts)

        return [lambda i=i: read(i) for i in range(self.block.step.counts[3])]

    def multiply(self, i: int) -> jax.Array:
        """The own units of the i-th matmul: `(rows, m U)` in float32."""
        plan, refs = self.block.plan, self.block.refs
        k, n = self.block.step.weights[i]
        exchange = refs.exchange[i].at[self.slot]
        self.give(i, k // plan.hidden, exchange)
        source = exchange.at[self.block.rows]
        kept = refs.kept[i].at[self.block.group]
        run = lambda acc: self.tiles(acc, source, kept, k // plan.atom)
        columns = n // plan.hidden * plan.units
        return pl.run_scoped(run, plgpu.ACC((ROWS, columns), jnp.float32))

    def give(self, i: int, count: int, target: Any) -> None:
        """Writes the own units of an operand, and waits for those of all other blocks."""
        block, plan = self.block, self.block.plan
        stage = block.refs.stage.at[block.group]
        for place, strip in enumerate(block.strips):
            part = pl.ds(place * plan.strip, plan.strip)
            for g, piece in enumerate(strip.output(i)):
                piece = rounded(piece) if block.step.tf32 else piece
                plgpu.store(stage.at[g, :, part], piece, optimized=False)
            strip.before(i)
        plgpu.commit_smem()
        for g in range(count):
            own = pl.ds(g * plan.hidden + block.first, plan.units)
            plgpu.copy_smem_to_gmem(stage.at[g], target.at[block.rows, own])
        plgpu.wait_smem_to_gmem(0)
        fence_between_blocks()
        if block.step.without != "blocks":
            plgpu.barrier_arrive(block.refs.met)
            plgpu.barrier_wait(block.refs.met)
        fence_between_blocks()

    def tiles(self, acc: Any, source: Any, kept: Any, count: int) -> jax.Array:
        """Sums tile x weight over the tiles of the operand, with loads ahead of use."""
        plan, refs = self.block.plan, self.block.refs
        atom, slots = plan.atom, plan.slots

        columns = partial(_columns, atom)

        def load(c, slot):
            part = source.at[:, columns(c)]
            self.block.load(part, refs.slots.at[slot], refs.arrived.at[slot])

        def multiply(c):
            slot = lax.rem(c, slots)
            plgpu.barrier_wait(refs.arrived.at[slot])
            weight = kept.at[:, columns(c)]
            plgpu.wgmma(acc, refs.slots.at[slot], weight.T)
            if self.block.step.watch:
                plgpu.load(refs.slots.at[slot])
                plgpu.load(weight)
                plgpu.commit_smem()  # orders such a load before the next copy to the slot
            return slot

        def multiply_and_load(c, _):
            slot = multiply(c)
            # the slot is free once the matmuls of all warpgroups have read it
            plgpu.wgmma_wait(0)
            if self.block.step.without != "slots":
                plgpu.barrier_arrive(refs.free.at[slot])
                plgpu.barrier_wait(refs.free.at[slot])
            load(c + slots, slot)

        def multiply_alone(c, _):
            multiply(c)

        first = min(slots, count)
        for c in range(first):
            load(c, c)
        # loops, because the compiler would keep the addresses of unrolled tiles in registers
        lax.fori_loop(0, count - first, multiply_and_load, None)
        lax.fori_loop(count - first, count, multiply_alone, None)
        plgpu.wgmma_wait(0)
        return acc[...]


def _columns(atom: int, c: Any) -> Any:
    """The columns of the c-th tile."""
    start = c * atom
    return pl.ds(start if isinstance(c, int) else pl.multiple_of(start, atom), atom)
