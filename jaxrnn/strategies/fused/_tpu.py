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

from ..._arrays import expand_trailing
from ..._layer import LinearCell, MatrixCell
from ..._partition import partition
from ..._sharding import aligned
from ...kernels import pallas_tpu
from .._base import Refused, unmasked
from .._blocks import divisor
from .._masked import Masked, MaskedInput
from .._platform import Target, on_target, target
from ..hoisted._outputs import outputs_of_state
from ..hoisted._recurrence import Recurrence
from ..hoisted._step_gradients import Unique, pull_step
from ..hoisted._wide import with_wide_matmuls
from ._tpu_linear import unroll_linear


EVIDENCE = "compiled for TPU and simulated, but never timed on one"
HOW = f"the recurrence in one Pallas kernel for each pass; {EVIDENCE}"
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
            pull, shapes = pull_step(self.step, hoisted, before, z, products)
            d_before, made = self._reverse_step(
                hoisted[0], shapes, d_after, pull, d_own
            )
            return d_before, found.stacked(made)

        steps = (before, zs, products, d_states)
        d_state, unique = self._scan(body, hoisted, d_state, steps, reverse=True)
        return d_state, found.joined(unique)


def unroll(
    strategy: Any, cell: Any, params: Any, state: Any, xs: Any
) -> tuple[Any, Any]:
    """`(state, ys)` of a cell.

    Raises:
        NotImplementedError: with the reason, if the compiler of TPU kernels cannot lower
            the cell's `recur`, or VMEM cannot hold it.
    """
    if isinstance(cell, MatrixCell):
        reason = "its state is a matrix; Chunked() runs it as matmuls over many steps"
        raise Refused(strategy, cell, reason)
    leaves, structure = jax.tree.flatten((params, state, xs))
    types = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    if reason := _refusal(cell, structure, types, _precision()):
        raise Refused(strategy, cell, reason)
    return _run(cell, params, state, xs)


def _run(cell: Any, params: Any, state: Any, xs: Any) -> tuple[Any, Any]:
    """The same, unchecked."""
    simulator = (target() or Target("tpu")).simulator
    if isinstance(cell, LinearCell):
        return unroll_linear(cell, params, state, xs, simulator)
    batched = _Batched(cell)
    # the step is traced with the types that its arrays have in the loop
    params, state, xs = aligned((params, state, xs))
    x = jax.tree.map(lambda x: x[0], xs)
    z = jax.eval_shape(jax.vmap(batched.project, (None, 0)), params, x)
    block = _block(jax.tree.leaves(xs)[0].shape[0], z)
    run = TpuRecurrence(
        batched.project,
        batched.readout,
        partition(batched.recur, params, state, z),
        forward_block=block,
        block=block,
        recompute=True,
        state_outputs=outputs_of_state(batched.readout, params, state, z),
        simulator=simulator,
    )
    return run(params, state, xs)


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


def _precision() -> str:
    config: Any = jax.config
    return str(config.jax_default_matmul_precision)


@lru_cache(maxsize=256)
def _refusal(cell: Any, structure: Any, types: Any, precision: str) -> str:
    """A reason why the kernels of a cell cannot be compiled; empty if they can.

    The only way to know is to lower them, for one time step. XLA's compiler is not needed.
    """
    del precision  # a key of the cache: the matmuls are traced with it
    given = [jax.ShapeDtypeStruct(*of_one) for of_one in types]
    params, state, xs = jax.tree.unflatten(structure, given)
    xs = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), xs)

    def both(params, state, xs):
        out, pull = jax.vjp(partial(_run, cell), params, state, xs)
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
