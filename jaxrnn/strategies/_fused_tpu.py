"""`Fused` on a TPU: the loops of any cell as Pallas kernels around its own `recur`.

The schedule is `Hoisted`'s: `recur` is cut at its matmuls with parameters, the backward pass
recomputes the results of all matmuls at once, and takes the gradients of the weights after
its loop. Both loops are `kernels.pallas_tpu.scan`, which keeps weights and state in VMEM.
Nothing is written for each cell: the element-wise part is traced into the kernel.

Every kernel was compiled for TPU v5e and v6e without a device, and its values were checked
in an interpreter of TPU memory. No kernel ever ran on a TPU.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from .._arrays import expand_trailing, previous_states
from .._autodiff._fold import RowAxes
from .._autodiff._op import DifferentiableOp, call
from .._layer import LinearCell, MatrixCell, over_time_and_batch
from .._sharding import aligned
from ..kernels import pallas_tpu
from ..kernels.reference import linear as reference_linear
from ._base import Plan, Refused, unmasked
from ._blocks import divisor
from ._masked import Masked, MaskedInput, resets_of
from ._platform import Target, on_target, target
from .hoisted._outputs import outputs_of_state
from .hoisted._partition import partition
from .hoisted._recurrence import Recurrence
from .hoisted._step_gradients import Unique
from .hoisted._wide import with_wide_matmuls


EVIDENCE = "compiled for TPU and simulated, but never timed on one"
SKIP = f"its kernels were {EVIDENCE}"
"""The reason for `Auto` to pass it over."""


@dataclass(frozen=True, eq=False)
class TpuRecurrence(Recurrence):
    """A recurrence whose two loops are kernels."""

    simulator: Any = None

    def _scan(self, body, *args, **options):
        options |= {"simulator": self.simulator}
        return pallas_tpu.scan(with_wide_matmuls(body), *args, **options)

    def _run_steps(self, hoisted, state, zs):
        def body(hoisted, state, z):
            state = self.step.step(hoisted, state, z)
            return state, state

        after, states = self._scan(body, hoisted, state, zs)
        return after, (states, ())

    def _reverse_loop(self, hoisted, d_state, before, zs, products, d_states):
        found = Unique()

        def body(hoisted, d_after, step):
            before, z, products, d_own = step
            pull, shapes = self._pull(hoisted, before, z, products)
            d_before, made = self._reverse_step(
                hoisted[0], shapes, d_after, pull, d_own
            )
            return d_before, found.stacked(made)

        steps = (before, zs, products, d_states)
        d_state, unique = self._scan(body, hoisted, d_state, steps, reverse=True)
        return d_state, found.joined(unique)


def plan(strategy: Any, cell: Any, params: Any, state: Any, xs: Any) -> Plan:
    """The plan to run a cell that is not linear.

    Raises:
        NotImplementedError: with the reason, if the compiler of TPU kernels cannot lower
            the cell's `recur`, or VMEM cannot hold it.
    """
    if isinstance(cell, MatrixCell):
        raise Refused(
            strategy,
            cell,
            "its state is a matrix; Chunked() runs it as matmuls over many steps",
        )
    run, count = _recurrence(cell, params, state, xs)
    _check_lowering(strategy, cell, params, state, xs)
    matmuls = "matmul" if count == 1 else "matmuls"
    how = f"the recurrence, with {count} {matmuls}, in one Pallas kernel; {EVIDENCE}"
    return Plan(strategy, run, how, SKIP)


def _recurrence(cell: Any, params: Any, state: Any, xs: Any) -> tuple[Any, int]:
    """`(params, state, xs) -> (state, ys)`, and the number of matmuls in the loop."""
    batched = _Batched(cell)
    # the step is traced with the types that its arrays will have in the loop
    shapes = aligned((params, state, xs))
    x = jax.tree.map(lambda x: x[0], shapes[2])
    z = jax.eval_shape(jax.vmap(batched.project, (None, 0)), params, x)
    step = partition(batched.recur, *shapes[:2], z)

    def run(params, state, xs):
        params, state, xs = aligned((params, state, xs))
        time = jax.tree.leaves(xs)[0].shape[0]
        block = _block(time, z)
        run = TpuRecurrence(
            batched.project,
            batched.readout,
            step,
            forward_block=block,
            block=block,
            recompute=True,
            state_outputs=outputs_of_state(batched.readout, params, state, z),
            simulator=_simulator(),
        )
        return run(params, state, xs)

    return run, len(step.matmuls)


_BYTES = 32 * 2**20
"""The size of the projected inputs of a block. A block is one call of a kernel, which
copies the weights to VMEM once; its temporary arrays are in HBM."""


def _block(time: int, z: Any) -> int:
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(z))
    return divisor(time, min(time, max(1, _BYTES // max(1, size))))


@dataclass(frozen=True)
class _Batched:
    """The parts of a cell, of which `recur` takes a batch and its masks as columns.

    The registers of a TPU have two axes, so a mask of the batch is `(B, 1)`, and an integer,
    since the compiler does not broadcast booleans.
    """

    cell: Any

    def project(self, params: Any, x: Any) -> Any:
        z = self.cell.project(params, x)
        if not isinstance(self.cell, Masked):
            return z
        column = lambda m: None if m is None else m.astype(jnp.int32)[None]
        return MaskedInput(z.value, column(z.valid), column(z.reset))

    def readout(self, params: Any, state: Any, z: Any) -> Any:
        if isinstance(self.cell, Masked):
            number = lambda m: None if m is None else m[0] != 0
            z = MaskedInput(z.value, number(z.valid), number(z.reset))
        return self.cell.readout(params, state, z)

    def recur(self, params: Any, state: Any, z: Any) -> Any:
        recur = jax.vmap(unmasked(self.cell).recur, (None, 0, 0))
        if not isinstance(self.cell, Masked):
            return recur(params, state, z)
        initial = self.cell.initial_state(params)
        initial = jax.tree.map(
            lambda i, s: jnp.broadcast_to(i, s.shape), initial, state
        )
        start = begin = _where(z.reset, initial, state)
        if z.reset is not None and z.valid is not None:
            # see `_masked._recur`: a skipped step must not run from a state that is NaN
            begin = _where(z.valid, start, initial)
        after = recur(params, begin, z.value)
        return after if z.valid is None else _where(z.valid, after, start)


def _where(mask: Any, yes: Any, no: Any) -> Any:
    """`jnp.where` of two states, leaves `(B, ...)`, for a mask `(B, 1)`."""
    if mask is None:
        return no

    def one(yes, no):
        column = expand_trailing(mask[:, 0], no.ndim) if no.ndim != 2 else mask
        return jnp.where(jnp.broadcast_to(column, no.shape) != 0, yes, no)

    return jax.tree.map(one, yes, no)


def plan_linear(strategy: Any, cell: Any, params: Any, state: Any, xs: Any) -> Plan:
    """The plan to run a linear cell: XLA computes the coefficients, the kernel the states.

    Raises:
        NotImplementedError: with the reason, if VMEM cannot hold a time step.
    """
    _check_lowering(strategy, cell, params, state, xs)
    how = f"the recurrence in one Pallas kernel; {EVIDENCE}"
    return Plan(strategy, partial(_unroll_linear, cell), how, SKIP)


def _unroll_linear(cell: Any, params: Any, state: Any, xs: Any) -> tuple[Any, Any]:
    zs = over_time_and_batch(cell.project, params, xs)
    a, b = over_time_and_batch(cell.coefficients, params, zs)
    op = TpuLinear(_simulator())
    one = lambda a, b, h: call(op, (a, b, h), resets_of(zs))
    states = jax.tree.map(one, a, b, state)
    last = jax.tree.map(lambda s: s[-1], states)
    return last, over_time_and_batch(cell.readout, params, states, zs)


@dataclass(frozen=True)
class TpuLinear(DifferentiableOp):
    """The states h_t = a_t h_{t-1} + b_t, for a and b `(T, B, ...)` and h0 `(B, ...)`.

    A complex number is two real arrays in the kernels, which know no complex numbers.
    `nondiff` are the resets `(T, B)`, or None.
    """

    simulator: Any = None
    rows = RowAxes(operands=(1, 1, 0), nondiff=1, out=1, saved=1)

    def reference(self, operands, nondiff):
        a, b, h0 = operands
        return reference_linear(a, b, h0, nondiff)

    def value(self, operands, nondiff):
        a, b, h0 = operands

        def body(_, h, step):
            a, b, reset = step
            h = _add(_times(a, _unless(reset, h)), b)
            return h, h

        steps = (_parts(a), _parts(b), _columns(nondiff, a.ndim))
        return _joined(self._scan(body, h0, steps)[1])

    def forward(self, operands, nondiff):
        hs = self.value(operands, nondiff)
        return hs, hs

    def backward(self, operands, nondiff, saved, grads, wanted):
        a, _, h0 = operands

        def body(_, later, step):
            a, d, reset = step
            d = _add(d, later)
            return _unless(reset, _times(a, d)), d

        steps = (_parts(a), _parts(grads), _columns(nondiff, a.ndim))
        d_h0, d_b = self._scan(body, jnp.zeros_like(h0), steps, reverse=True)
        d_b, before = _joined(d_b), previous_states(h0, saved)
        if nondiff is not None:
            reset = expand_trailing(nondiff, a.ndim)
            before = jnp.where(reset, jnp.zeros_like(before), before)
        return d_b * before, d_b, _joined(d_h0)

    def _scan(self, body, h0, steps, **options):
        options |= {"simulator": self.simulator}
        return pallas_tpu.scan(body, (), _parts(h0), steps, **options)


Parts = tuple[jax.Array, ...]
"""A real array, or the real and the imaginary part of a complex one."""


def _parts(x: jax.Array) -> Parts:
    return (x.real, x.imag) if jnp.iscomplexobj(x) else (x,)


def _joined(parts: Parts) -> jax.Array:
    return parts[0] if len(parts) == 1 else jax.lax.complex(*parts)


def _times(a: Parts, b: Parts) -> Parts:
    if len(a) == 1:
        return (a[0] * b[0],)
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _add(a: Parts, b: Parts) -> Parts:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _columns(mask: Any, ndim: int) -> Any:
    """A mask `(T, B)` as integers `(T, B, 1, ...)`; None without a mask."""
    return None if mask is None else expand_trailing(mask.astype(jnp.int32), ndim)


def _unless(mask: Any, x: Parts) -> Parts:
    """`x`, and zero where the mask is not zero."""
    if mask is None:
        return x
    wide = jnp.broadcast_to(mask, x[0].shape) != 0
    return tuple(jnp.where(wide, jnp.zeros_like(part), part) for part in x)


def _simulator() -> Any:
    found = target()
    return found and found.simulator


def _check_lowering(strategy: Any, cell: Any, *given: Any) -> None:
    leaves, structure = jax.tree.flatten(given)
    types = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    if reason := _refusal(cell, structure, types):
        raise Refused(strategy, cell, reason)


@lru_cache(maxsize=256)
def _refusal(cell: Any, structure: Any, types: Any) -> str:
    """A reason why the kernels of a cell cannot be compiled; empty if they can.

    The only way to know is to lower them, for one time step. XLA's compiler is not needed.
    """
    given = [jax.ShapeDtypeStruct(*of_one) for of_one in types]
    params, state, xs = jax.tree.unflatten(structure, given)
    xs = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), xs)

    def both(params, state, xs):
        if isinstance(cell, LinearCell):
            run = partial(_unroll_linear, cell)
        else:
            run = _recurrence(cell, params, state, xs)[0]
        out, pull = jax.vjp(run, params, state, xs)
        return pull(jax.tree.map(jnp.ones_like, out))

    try:
        with on_target(Target("tpu")):
            traced = jax.jit(both).trace(params, state, xs)
            traced.lower(lowering_platforms=("tpu",))
    except pallas_tpu.DoesNotFit as reason:
        return str(reason)
    except (pallas_tpu.CannotLower, NotImplementedError, ValueError, TypeError) as e:
        first = str(e).strip().splitlines()[0]
        return f"the compiler of TPU kernels cannot lower its step: {first}"
    return ""
