"""`scan`: a recurrence with matmuls, as one kernel for Hopper."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from . import _mosaic as plgpu
from ._kernel import Block, Refs, scratch
from ._pieces import Columns, Evaluator, NotByUnit, Sizes, Uniform, Vector, vector_axis
from ._plan import ROWS, Plan, plan
from ._strip import BATCH, GROUPS, UNITS, Step
from ._tf32 import rounded


_simulator: ContextVar[Any] = ContextVar("simulator", default=None)
_blocks: ContextVar[int | None] = ContextVar("blocks", default=None)
_tf32: ContextVar[bool] = ContextVar("tf32", default=True)


@contextlib.contextmanager
def simulated(
    *, detect_races: bool = True, blocks: int | None = None, tf32: bool = False
) -> Iterator[None]:
    """Kernels that are traced inside run in JAX's simulator of a GPU, on a CPU.

    The fences between blocks have no counterpart in the simulator, which ignores them.

    Args:
        detect_races: whether an access that no barrier orders raises an error.
        blocks: the blocks of a cluster; None takes as many as a GPU would.
        tf32: whether float32 operands of matmuls are rounded to TensorFloat-32, as on a GPU;
            without it, results can be compared with those of float32.
    """
    how = plgpu.InterpretGPUParams(detect_races=detect_races, inline_mgpu="ignore")
    tokens = _simulator.set(how), _blocks.set(blocks), _tf32.set(tf32)
    try:
        yield
    finally:
        _simulator.reset(tokens[0])
        _blocks.reset(tokens[1])
        _tf32.reset(tokens[2])


@dataclass(frozen=True, eq=False)
class Matmul:
    """A matmul of every step with the same weight.

    Attributes:
        weight: `(K, N)`, both multiples of the number of units, float32 or bfloat16.
        dtype: the dtype of the result; the sum itself is float32.
    """

    weight: jax.Array
    dtype: Any

    def result(self, batch: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((batch, self.weight.shape[1]), self.dtype)


Body = Callable[[Any, Any, Any, tuple], tuple[Sequence[Any], Any, Any]]
"""`(constants, carry, x, products) -> (operands, carry', y)`. The i-th operand may depend on
the products before the i-th only."""


def scan(
    body: Body,
    matmuls: Sequence[Matmul],
    constants: Any,
    carry: Any,
    xs: Any,
    *,
    reverse: bool = False,
    without: str = "",
) -> tuple[Any, Any]:
    """`lax.scan` with matmuls, in one kernel that keeps their weights in shared memory.

        products[i] = operands[i] @ matmuls[i].weight
        operands, carry, y = body(constants, carry, x, products)

    `body` is traced once, for a whole batch, and evaluated on pieces of its arrays. A cluster
    of up to 8 blocks shares the `H` units of 64 sequences, and exchanges the operands of the
    matmuls through global memory (the L2 cache), with one barrier of the cluster a matmul.
    Other sequences are other clusters, which never wait for each other.

    This kernel is compiled for compute capability 9.0 and simulated on a CPU; it was never run
    on a GPU. In float32 the tensor cores round both operands to TensorFloat-32, as XLA does
    by default.

    Args:
        body: the step; see `Body`.
        matmuls: its matmuls, with weights `(k H, m H)` of one dtype.
        constants: a pytree of arrays `(k H,)` or `()`, the same in all steps.
        carry: a pytree of arrays `(B, k H)`; its first leaf has `H` columns.
        xs: a pytree of arrays `(T, B, k H)`, `(T, B)`, `(T, k H)` or `(T,)`.
        reverse: True runs from the last step to the first.
        without: a wait that is left out, "blocks" or "slots", which makes the results wrong;
            it exists to test that the simulation finds the race.

    Returns:
        The last carry, and `y` of all steps `(T, B, k H)`.

    Raises:
        NotByUnit: if the step mixes units other than by its matmuls.
        DoesNotFit: if the sizes do not divide, or if the weights do not fit.

    Reference: Diamos, Sengupta, Catanzaro, Chrzanowski, Coates, Elsen, Engel, Hannun, Satheesh
    2016, "Persistent RNNs: Stashing Recurrent Weights On-Chip", ICML.
    """
    call = _Call.of(body, matmuls, constants, carry, xs, without)
    return call.run(reverse)


def check(body: Body, matmuls: Any, constants: Any, carry: Any, xs: Any) -> Plan:
    """The plan for these arguments; raises as `scan` does, without building a kernel."""
    call = _Call.of(body, matmuls, constants, carry, xs, "")
    call.check()
    return call.plan


@dataclass(frozen=True, eq=False)
class _Call:
    """One call of `scan`: the traced step, its plan and its flat arguments."""

    traced: Any
    out_tree: Any
    plan: Plan
    sizes: Sizes
    matmuls: tuple[Matmul, ...]
    arguments: tuple[list, list, list]
    time: int
    without: str

    @classmethod
    def of(cls, body, matmuls, constants, carry, xs, without):
        flat: Any = tuple(jax.tree.leaves(a) for a in (constants, carry, xs))
        batch, hidden = _sizes(flat[1], flat[2])
        weights, blocks = [m.weight.shape for m in matmuls], _blocks.get()
        found = plan(batch, hidden, weights, _dtype(matmuls), blocks=blocks)
        first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), xs)
        products = tuple(m.result(batch) for m in matmuls)
        traced, out = jax.make_jaxpr(body, return_shape=True)(
            constants, carry, first, products
        )
        sizes = Sizes(batch, hidden, ROWS, found.strip)
        _check_arguments(traced, out, flat, sizes, matmuls)
        time = flat[2][0].shape[0]
        return cls(traced, out, found, sizes, tuple(matmuls), flat, time, without)

    def check(self) -> None:
        """Evaluates the step on pieces, without their sources."""
        rows, units = self.sizes.rows, self.sizes.units

        def value(aval):
            if count := self.sizes.columns(aval.shape):
                return Columns((jnp.zeros((rows, units), aval.dtype),) * count)
            if not aval.shape:
                return Uniform(jnp.zeros((), aval.dtype))
            count = max(1, aval.shape[-1] // self.sizes.hidden)
            one = lambda axis: jnp.zeros(rows if axis == "rows" else units, aval.dtype)
            times = lambda axis: 1 if axis == "rows" else count
            axis = vector_axis(aval.shape)
            return Vector(lambda axis: (one(axis),) * times(axis), axis)

        def run():
            avals = self.traced.in_avals
            inputs = [lambda aval=aval: value(aval) for aval in avals]
            found = Evaluator(self.traced, inputs, self.sizes)
            for i, aval in enumerate(self.traced.out_avals):
                found.full(found.output(i), aval.shape[-1] // self.sizes.hidden)

        jax.eval_shape(run)

    def run(self, reverse):
        counts: Any = (*map(len, self.arguments), len(self.matmuls))
        shapes: Any = tuple(m.weight.shape for m in self.matmuls)
        dtype = _dtype(self.matmuls)
        step = Step(
            self.traced,
            counts,
            shapes,
            dtype,
            self.sizes,
            self.without,
            tf32=_tf32.get(),
            watch=_simulator.get() is not None,
        )

        def recurrence(*refs):
            block = Block(step, self.plan, Refs(step, refs))
            block.run(self.time, reverse)

        launch = plgpu.kernel(
            recurrence,
            out_type=self._outputs(step),
            scratch_types=scratch(step, self.plan),
            grid=(self.plan.tiles,),
            grid_names=(BATCH,),
            cluster=(self.plan.blocks,),
            cluster_names=(UNITS,),
            num_threads=self.plan.groups,
            thread_name=GROUPS,
            interpret=_simulator.get(),
        )
        found = launch(*self._inputs())
        ys, last = found[: len(step.out_avals[2])], found[len(step.out_avals[2]) :]
        _, carry, y = self.out_tree
        batch = self.sizes.batch
        last = [c[:batch] for c in last[: counts[1]]]
        ys = [y[:, :batch] for y in ys]
        unflat = lambda tree, leaves: jax.tree.unflatten(
            jax.tree.structure(tree), leaves
        )
        return unflat(carry, last), unflat(y, ys)

    def _outputs(self, step):
        batch, (_, carry, ys) = self.plan.batch, step.out_avals
        struct = jax.ShapeDtypeStruct
        every = [struct((self.time, batch, y.shape[1]), y.dtype) for y in ys]
        last = [struct((batch, c.shape[1]), c.dtype) for c in carry]
        exchange = [struct((2, batch, k), step.dtype) for k, _ in step.weights]
        return [*every, *last, *exchange]

    def _inputs(self):
        constants, carry, xs = self.arguments
        whole = [self._padded(x, 0) for x in [*constants, *carry]]
        steps = [self._padded(x, 1) for x in xs]
        nearest = rounded if _tf32.get() else lambda w: w
        weights = [self._by_block(nearest(m.weight)) for m in self.matmuls]
        return [*map(_stored, [*whole, *steps]), *weights]

    def _padded(self, x, axis):
        """An argument whose batch, at `axis`, is padded to whole tiles; a vector is flat."""
        if not self.sizes.columns(x.shape[axis:]):
            x = x.reshape(*x.shape[:axis], -1)
            # a vector of both sizes is one of units, or a batch that needs no padding
            if x.shape[axis] != self.sizes.batch or x.shape[axis] % ROWS == 0:
                return x
        more = self.plan.batch - self.sizes.batch
        return jnp.pad(x, [(0, more if i == axis else 0) for i in range(x.ndim)])

    def _by_block(self, w):
        """`(blocks, groups, m U, K)`: the own columns of each, transposed for wgmma."""
        (k, n), plan = w.shape, self.plan
        gates = n // plan.hidden
        parts = w.T.reshape(gates, plan.blocks, plan.groups, plan.units, k)
        parts = jnp.moveaxis(parts, 0, 2)
        return parts.reshape(plan.blocks, plan.groups, gates * plan.units, k)


def _stored(x: jax.Array) -> jax.Array:
    return x.astype(jnp.int32) if x.dtype == jnp.bool_ else x


def _sizes(carry: list, xs: list) -> tuple[int, int]:
    if not carry or any(c.ndim != 2 for c in carry) or not xs:
        shapes = [c.shape for c in carry]
        raise NotByUnit(f"the state needs arrays (B, H), and has {shapes}")
    batch = carry[0].shape[0]
    hidden = min(c.shape[1] for c in carry)
    return batch, hidden


def _dtype(matmuls: Sequence[Matmul]) -> Any:
    dtypes = {jnp.dtype(m.weight.dtype) for m in matmuls} or {jnp.dtype("float32")}
    known = {jnp.dtype("float32"), jnp.dtype("bfloat16")}
    if len(dtypes) > 1 or not dtypes <= known:
        names = ", ".join(sorted(map(str, dtypes)))
        raise NotByUnit(f"its weights are {names}, not all float32 or all bfloat16")
    return dtypes.pop()


def _check_arguments(traced, out, flat, sizes, matmuls):
    """Refuses arguments that are not arrays of units, sequences or numbers."""
    operands, carry, ys = out
    constants, given, xs = flat
    for leaf in [*given, *jax.tree.leaves((operands, carry, ys))]:
        if not sizes.columns(leaf.shape):
            raise NotByUnit(f"it has an array {leaf.shape} that is not (B, k H)")
    for shape in [*(c.shape for c in constants), *(x.shape[1:] for x in xs)]:
        long = [n for n in shape if n != 1]
        vector = len(long) < 2 and all(
            n == sizes.batch or n % sizes.hidden == 0 for n in long
        )
        if not vector and not sizes.columns(shape):
            raise NotByUnit(
                f"it has an array {shape}, neither per sequence nor per unit"
            )
    for operand, matmul in zip(operands, matmuls, strict=True):
        k, n = matmul.weight.shape
        if operand.shape[1] != k or k % sizes.hidden or n % sizes.hidden:
            raise NotByUnit(f"a weight {(k, n)} is not (k H, m H) for its operand")
        if operand.dtype != matmul.weight.dtype:
            raise NotByUnit(
                f"a matmul of {operand.dtype} with a weight in {matmul.weight.dtype}"
            )
