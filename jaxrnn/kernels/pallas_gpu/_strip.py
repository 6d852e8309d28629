"""One strip of the units of a block: it loads, evaluates and stores their part of a step."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.extend.core import ClosedJaxpr, Literal

from . import _mosaic as plgpu
from ._pieces import (
    Columns,
    Evaluator,
    NotByUnit,
    Sizes,
    Uniform,
    Value,
    Vector,
    vector_axis,
)


BATCH, UNITS, GROUPS = "batch", "units", "groups"
"""The axes of the grid, tiles of sequences; of a cluster, blocks of units; and of a block,
warpgroups."""


@dataclass(frozen=True, eq=False)
class Step:
    """One traced step, and the kinds of its arguments.

    Attributes:
        traced: `(constants, carry, x, products) -> (operands, carry', y)`, all flat.
        counts: the number of constants, leaves of the carry, of x, and of products.
        weights: the shapes of the weights.
        dtype: the dtype of the weights and operands.
        sizes: the sizes of the step and of its pieces.
        without: a wait to leave out, to test that the race detector finds it: "blocks" for
            other blocks, "slots" for other warpgroups.
        tf32: whether operands are rounded to TensorFloat-32.
        watch: whether each tile is also loaded where its matmul has read it. The simulator
            does not record what wgmma reads, so its race detector would not see it.
    """

    traced: ClosedJaxpr
    counts: tuple[int, int, int, int]
    weights: tuple[tuple[int, int], ...]
    dtype: Any
    sizes: Sizes
    without: str = ""
    tf32: bool = True
    watch: bool = False

    def avals(self, which: int) -> list[Any]:
        start = sum(self.counts[:which])
        return self.traced.in_avals[start : start + self.counts[which]]

    def used(self, i: int) -> bool:
        """Whether the step reads its i-th input."""
        return any(i in found for found in self.read)

    @cached_property
    def read(self) -> list[set[int]]:
        """The inputs that each output depends on."""
        jaxpr = self.traced.jaxpr
        found = {v: {i} for i, v in enumerate(jaxpr.invars)}
        of = lambda atom: set() if isinstance(atom, Literal) else found.get(atom, set())
        for equation in jaxpr.eqns:
            inputs = set().union(*map(of, equation.invars))
            found.update(dict.fromkeys(equation.outvars, inputs))
        return [of(v) for v in jaxpr.outvars]

    def needs(self, output: int, product: int) -> bool:
        """Whether an output depends on the result of a matmul, or of a later one."""
        first = sum(self.counts[:3]) + product
        return any(i >= first for i in self.read[output])

    @property
    def out_avals(self) -> tuple[list[Any], list[Any], list[Any]]:
        """The outputs: the operands, the carry after the step, and y."""
        avals, n, c = self.traced.out_avals, self.counts[3], self.counts[1]
        return avals[:n], avals[n : n + c], avals[n + c :]


class Strip:
    """Some units of some sequences.

    Args:
        step: the step.
        rows: the sequences, as a slice.
        first: the first unit.
    """

    def __init__(self, step: Step, rows: Any, first: Any) -> None:
        self.step, self.rows, self.first = step, rows, first

    def columns(self, piece: int) -> Any:
        """The units of a piece, in a matrix `(B, k H)`."""
        sizes = self.step.sizes
        return pl.ds(piece * sizes.hidden + self.first, sizes.units)

    def begin(
        self, constants: list, carry: list, xs: list, products: list, ys: list
    ) -> None:
        """Begins a step, with references to its arguments, and the carry in registers."""
        step = self.step
        fixed, moving = (
            [self.reader(ref, aval) for ref, aval in zip(refs, avals, strict=True)]
            for refs, avals in ((constants, step.avals(0)), (xs, step.avals(2)))
        )
        state = [lambda pieces=pieces: Columns(pieces) for pieces in carry]
        found = [lambda read=read: Columns(read()) for read in products]
        inputs = [*fixed, *state, *moving, *found]
        self._evaluator = Evaluator(step.traced, inputs, step.sizes)
        self._ys: dict[int, Any] = dict(enumerate(ys))
        self._carry: dict[int, tuple[Any, ...]] = {}

    def before(self, product: int) -> None:
        """Does what it can before a matmul, during which few values should need registers.

        It loads what the step will read later, so that it arrives while the block waits for
        others, and finishes all outputs that the matmul does not change.
        """
        start = self.step.counts[0] + self.step.counts[1]
        for i in range(start, start + self.step.counts[2]):
            if self.step.used(i):
                value = self._evaluator.input(i)
                aval = self.step.traced.in_avals[i]
                if isinstance(value, Vector) and aval.size % self.step.sizes.hidden:
                    value.at("rows")
        self._finish(lambda output: not self.step.needs(output, product))

    def end(self) -> list[tuple[Any, ...]]:
        """Stores the rest of y, and returns the carry after the step."""
        self._finish(lambda output: True)
        return [self._carry[i] for i in range(self.step.counts[1])]

    def _finish(self, able: Callable[[int], bool]) -> None:
        n, carry = self.step.counts[3], self.step.counts[1]
        for i in range(carry):
            if i not in self._carry and able(n + i):
                self._carry[i] = self.output(n + i)
        for i, ref in list(self._ys.items()):
            if able(n + carry + i):
                self.store(ref, self.output(n + carry + i))
                del self._ys[i]

    def output(self, i: int) -> tuple[Any, ...]:
        """The pieces of an output of the step."""
        aval = self.step.traced.out_avals[i]
        count = aval.shape[-1] // self.step.sizes.hidden
        pieces = self._evaluator.full(self._evaluator.output(i), count)
        return tuple(p.astype(aval.dtype) for p in pieces)

    def reader(self, ref: Any, aval: Any) -> Callable[[], Value]:
        """A function that loads an argument of the step."""
        if self.step.sizes.columns(aval.shape):
            return lambda: self.matrix(ref, aval)
        if aval.shape:
            found: dict[str, tuple] = {}

            def load(axis):
                if axis not in found:
                    found[axis] = self.vector(ref, aval, axis)
                return found[axis]

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


def _as(loaded: Any, dtype: Any) -> Any:
    """A loaded value; booleans are stored as integers, since memory has no single bits."""
    return loaded != 0 if dtype == jnp.bool_ else loaded
