"""`lax.scan` as one Pallas kernel, with its constants and its carry in VMEM.

A grid runs over blocks of time steps, in order. The constants, such as weights, are copied
to VMEM once and stay there. The carry stays in VMEM scratch from the first step to the
last. Blocks of the sequences are read and written while another block is computed, so that
no step waits for a transfer.

    carry, y_t = body(constants, carry, x_t)

The body is traced into the kernel as it is: the kernel knows no cell. Two versions of a
published TPU kernel for linear recurrences have the same structure (recurrentgemma's
`pallas.py`; De et al. 2024, arXiv:2402.19427).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from ._vmem import steps_in_block


CannotLower = pltpu.LoweringException


def scan(
    body: Callable[[Any, Any, Any], tuple[Any, Any]],
    constants: Any,
    carry: Any,
    xs: Any,
    *,
    reverse: bool = False,
    simulator: pltpu.InterpretParams | None = None,
) -> tuple[Any, Any]:
    """The carry after the last step, and the results of all steps.

    Args:
        body: `(constants, carry, x) -> (carry, y)` of one step.
        constants: a pytree of arrays.
        carry: a pytree of arrays; the body keeps its shapes and dtypes.
        xs: a pytree of arrays `(T, ...)`.
        reverse: whether to run from the last step to the first.
        simulator: parameters of a simulator of TPU memory, which runs the kernel on any
            platform; None compiles it for a TPU.

    Returns:
        The carry, and a pytree of arrays `(T, ...)`.

    Raises:
        DoesNotFit: if the constants, the carry and one time step are larger than VMEM.
    """
    call = _Call(body, constants, carry, xs, reverse)
    return call.run(constants, carry, xs, simulator or False)


class _Call:
    """One kernel: its shapes, its blocks, and its code."""

    def __init__(self, body, constants, carry, xs, reverse):
        self.body, self.reverse = body, reverse
        self.time = jax.tree.leaves(xs)[0].shape[0]
        of_one = jax.tree.map(lambda x: _struct(x.shape[1:], x.dtype), xs)
        like = lambda x: _struct(x.shape, x.dtype)
        self.given = (
            *(jax.tree.map(like, tree) for tree in (constants, carry)),
            of_one,
        )
        jaxpr, out = jax.make_jaxpr(body, return_shape=True)(*self.given)
        self.y = out[1]
        leaves = [list(map(_at_least_2d, jax.tree.leaves(t))) for t in self.given]
        self.constants, self.carry, self.x = leaves
        self.ys = list(map(_at_least_2d, jax.tree.leaves(self.y)))
        temporaries = [v.aval for e in jaxpr.jaxpr.eqns for v in e.outvars]
        self.steps, self.bytes = steps_in_block(
            self.time,
            [*self.constants, *self.carry, *self.carry, *self.carry],
            [*self.x, *self.ys],
            temporaries,
        )

    def run(self, constants, carry, xs, interpret):
        flat = [
            *map(_reshaped, jax.tree.leaves((constants, carry)), self._resident()),
            *map(partial(_reshaped, leading=1), jax.tree.leaves(xs), self.x),
        ]
        found = pl.pallas_call(
            self._kernel,
            grid=(pl.cdiv(self.time, self.steps),),
            in_specs=[
                *map(partial(self._whole, buffers=1), self._resident()),
                *map(self._block, self.x),
            ],
            out_specs=[*map(self._whole, self.carry), *map(self._block, self.ys)],
            out_shape=[
                *self.carry,
                *(_struct((self.time, *y.shape), y.dtype) for y in self.ys),
            ],
            scratch_shapes=[pltpu.VMEM(c.shape, c.dtype) for c in self.carry],
            compiler_params=pltpu.CompilerParams(
                dimension_semantics=_ORDER,
                vmem_limit_bytes=self.bytes + _RESERVE,
            ),
            interpret=interpret,
            name="jaxrnn_scan",
        )(*flat)
        count = len(self.carry)
        shapes = jax.tree.leaves(self.given[1]), jax.tree.leaves(self.y)
        after = map(_reshaped, found[:count], shapes[0])
        ys = map(partial(_reshaped, leading=1), found[count:], shapes[1])
        return (
            jax.tree.unflatten(jax.tree.structure(self.given[1]), after),
            jax.tree.unflatten(jax.tree.structure(self.y), ys),
        )

    def _resident(self):
        return [*self.constants, *self.carry]

    def _whole(self, like, buffers=None):
        zeros = (0,) * len(like.shape)
        mode = {"pipeline_mode": pl.Buffered(buffers)} if buffers else {}
        return pl.BlockSpec(like.shape, lambda i: zeros, **mode)

    def _block(self, like):
        zeros = (0,) * len(like.shape)
        index = lambda i: (self._place(i), *zeros)
        return pl.BlockSpec((self.steps, *like.shape), index)

    def _place(self, i):
        """The position in time of the i-th block that is run."""
        return pl.cdiv(self.time, self.steps) - 1 - i if self.reverse else i

    def _kernel(self, *refs):
        sizes = map(len, (self.constants, self.carry, self.x, self.carry, self.ys))
        constants, initial, x, after, ys, carry = _split(refs, sizes)
        block = pl.program_id(0)

        @pl.when(block == 0)
        def _():
            for c, i in zip(carry, initial, strict=True):
                c[...] = i[...]

        left = self.time % self.steps
        count: Any = self.steps
        if left:
            # the last block in time is shorter
            last = self._place(block) == self.time // self.steps
            count = jnp.where(last, left, self.steps)

        def step(k, _):
            t = count - 1 - k if self.reverse else k
            read = lambda refs: [ref[...] for ref in refs]
            given = (read(constants), read(carry), [ref[t] for ref in x])
            made, y = self.body(*map(_restored, given, self.given))
            for refs, values in ((carry, made), (ys, y)):
                for ref, value in zip(refs, jax.tree.leaves(values), strict=True):
                    at = (t,) if refs is ys else ()
                    ref[(*at, ...)] = value.reshape(ref.shape[len(at) :])

        unroll = 1 if left else _steps_unrolled(self.constants)
        jax.lax.fori_loop(0, count, step, None, unroll=unroll)
        for a, c in zip(after, carry, strict=True):
            a[...] = c[...]


_ORDER = None
"""The default of `dimension_semantics`: the blocks of the grid run in order."""

_UNROLLED = 10_000_000
"""The numbers of weights that the steps of one iteration multiply by. Between iterations the
matrix units drain and fill again: compiled for a v5e, an LSTM in bfloat16 at B = 16, H = 768
has 1674 bundles of instructions a step without unrolling, and 1353 with four steps in an
iteration. Larger weights need less of it, and take longer to compile."""


def _steps_unrolled(constants: Sequence[jax.ShapeDtypeStruct]) -> int:
    weights = sum(math.prod(c.shape) for c in constants)
    return min(4, max(1, _UNROLLED // max(1, weights)))


_RESERVE = 4 * 2**20
"""Bytes for the compiler's own buffers."""


def _struct(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _at_least_2d(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """The shape that an array has in the kernel: registers of a TPU have two axes."""
    return _struct((1,) * (2 - len(x.shape)) + x.shape, x.dtype)


def _reshaped(x: jax.Array, like: jax.ShapeDtypeStruct, leading: int = 0) -> jax.Array:
    """The array in another shape; the first `leading` axes stay."""
    return x.reshape(x.shape[:leading] + like.shape)


def _restored(values: Sequence[jax.Array], like: Any) -> Any:
    """The arrays of a step in the shapes and the structure that the body expects."""
    leaves, structure = jax.tree.flatten(like)
    shaped = [v.reshape(s.shape) for v, s in zip(values, leaves, strict=True)]
    return jax.tree.unflatten(structure, shaped)


def _split(refs: Sequence[Any], sizes: Any) -> list[list[Any]]:
    parts, start = [], 0
    for size in sizes:
        parts.append(list(refs[start : start + size]))
        start += size
    return [*parts, list(refs[start:])]
