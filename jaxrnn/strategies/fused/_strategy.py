"""`Fused`: a layer in one kernel, for each platform that has one."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp

from ..._layer import LinearCell, over_time_and_batch
from ..._wrapper import clips_gradient
from ...kernels.reference import StepMask
from .. import kernel_table
from .._base import Plan, Refused, Strategy, unmasked
from .._masked import Masked, resets_of
from .._platform import default_platform, platform
from . import _gpu, _tpu


_FEW = 4
"""For this many (time step, sequence) pairs or fewer, packing the weights does not pay off."""


@dataclass(frozen=True)
class Fused(Strategy):
    """One hand-written kernel: C++ on CPU, Pallas around a cell's own `recur` elsewhere.

    On CPU, one kernel runs projection, recurrence, readout and every gradient of `LSTM` (also
    coupled), `PeepholeLSTM`, `GRU` (with the reset before or after the matmul), `MGU`,
    `Elman` and `IndRNN` with tanh or ReLU, `LearnedState` of these cells, `Elman` with
    `TeacherForcing(alpha=)`, and the recurrence of every real `LinearCell`; in float32, and
    for tests in float64. A sequence that has ended costs nothing. Each block of time steps
    stays in cache, from the projection to the gradient of the weights.

    On TPU and GPU, the schedule is `Hoisted`'s, and both of its loops are kernels into which
    the cell's `recur` is traced, a cell of your own included; weights and state stay on the
    chip for the whole sequence.

    - TPU: every cell whose state is not a matrix, in any floating-point dtype.
    - GPU of the Hopper generation, with JAX 0.12: every cell whose operations can be divided
      over units, with a multiple of 64 units whose weights fit the shared memory of 8
      blocks; in bfloat16, or in float32 with matmuls in TensorFloat-32.

    These kernels were compiled for TPU v5e, TPU v6e and the H100 and checked in simulators,
    but they never ran on an accelerator (`docs/accelerators.md`).

    The kernels themselves handle lengths, masks, resets and initial states.

    `Auto` takes it on CPU, but skips it if T B <= 4, as for one streamed step: packing the
    weights would cost more than all of the matmuls. Elsewhere, `Auto` never takes it.

    Reverse mode runs the kernel's backward pass. Forward mode and higher derivatives
    differentiate a reference in plain JAX. On CPU, `vmap` over inputs and states becomes one
    call with a larger batch, and `vmap` over weights a loop of calls; elsewhere, `vmap` is an
    axis of the kernel's grid. Gradients that are not needed, such as for the inputs of a
    first layer, are not computed.

    Raises:
        NotImplementedError: for any other cell, dtype or platform; on CPU where the kernels
            were not built, and the message says how to get them; elsewhere if the chip
            cannot hold the weights, or the kernel cannot run `recur`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.LSTM(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> strategy = jaxrnn.Auto((jaxrnn.Fused(), jaxrnn.Scan()))
        >>> _, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)), strategy=strategy)
        >>> ys.shape
        (5, 2, 4)

    Reference: Appleyard, Kocisky, Blunsom 2016, arXiv:1604.01946, for the order of the
    work; Goto & van de Geijn 2008, doi:10.1145/1356052.1356053, for the matmuls.
    """

    def check(self, cell, params, state, xs):
        own = unmasked(cell)
        if _target() == "gpu" and clips_gradient(own):
            # the blocks of a cluster divide the units, and each would clip by its own norm
            raise Refused(self, cell, kernel_table.why_none(own))
        if _target() != "cpu":
            # `unroll` finds other reasons there; they cost too much to find for `Auto`
            if isinstance(own, LinearCell):
                _check_coefficients(self, own, params, state, getattr(xs, "value", xs))
            return
        refused = partial(Refused, self, cell)
        if not isinstance(own, LinearCell) and kernel_table.find(own) is None:
            raise refused(kernel_table.why_none(own))
        if reason := kernel_table.missing():
            raise refused(reason)
        # integers and booleans, such as masks, are not counted: they may be converted
        leaves = jax.tree.leaves((params, state, xs))
        dtypes = {x.dtype for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)}
        if len(dtypes) > 1 or not dtypes <= {
            jnp.dtype("float32"),
            jnp.dtype("float64"),
        }:
            names = ", ".join(sorted(map(str, dtypes)))
            raise refused(
                "it computes in float32 or float64 throughout, and params, state and "
                f"inputs are {names}"
            )
        if isinstance(own, LinearCell):
            _check_coefficients(self, own, params, state, getattr(xs, "value", xs))

    def plan(self, cell, params, state, xs):
        if _target() != "cpu":
            self.check(cell, params, state, xs)
            room = _tpu if _target() == "tpu" else _gpu
            return Plan(self, partial(room.unroll, self, cell), room.HOW, room.SKIP)
        time, batch = jax.tree.leaves(xs)[0].shape[:2]
        few = time * batch <= _FEW and not isinstance(cell, LinearCell)
        skip = (
            f"with T B of {_FEW} or fewer, packing the weights would cost more than all "
            "matmuls with them"
        )
        plan = super().plan(cell, params, state, xs)
        part = "the recurrence in " if isinstance(cell, LinearCell) else ""
        return replace(plan, how=f"{part}one C++ kernel", skip=skip if few else "")

    def unroll(self, cell, params, state, xs):
        masked = isinstance(cell, Masked)
        own, inputs = (cell.cell, xs.value) if masked else (cell, xs)
        found = kernel_table.find(own)
        if found is None:
            return super().unroll(cell, params, state, xs)
        mask = StepMask(xs.valid, xs.reset) if masked else StepMask()
        return kernel_table.run_layer(found, own, params, state, inputs, mask)

    def run(self, cell, params, state, zs):
        """For linear cells: XLA computes the coefficients, the kernel the recurrence."""
        a, b = over_time_and_batch(cell.coefficients, params, zs)
        states = kernel_table.run_linear(cell, a, b, state, resets_of(zs))
        return jax.tree.map(lambda s: s[-1], states), states


def _target() -> str:
    """The platform whose kernels are used: where it is not known, JAX's default."""
    return platform() or default_platform()


def _check_coefficients(strategy, cell, params, state, xs):
    """Refuses coefficients that do not have the shape and dtype of the state."""

    def first(params, xs):
        x = jax.tree.map(lambda x: x[0, 0], xs)
        return cell.coefficients(params, cell.project(params, x))

    one = jax.tree.map(lambda s: (s.shape[1:], s.dtype), state)
    for name, c in zip("ab", jax.eval_shape(first, params, xs), strict=True):
        if jax.tree.map(lambda c: (c.shape, c.dtype), c) != one:
            raise Refused(
                strategy,
                cell,
                "it needs the coefficients a and b in the shape and dtype of the state, and "
                f"{name} is {c}",
            )
