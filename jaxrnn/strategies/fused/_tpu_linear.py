"""The diagonal linear recurrence as a kernel for TPUs, real and complex."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ..._arrays import expand_trailing, previous_states
from ..._autodiff._fold import RowAxes
from ..._autodiff._op import DifferentiableOp, call
from ..._layer import over_time_and_batch
from ...kernels import pallas_tpu
from ...kernels.reference import linear as reference_linear
from .._masked import resets_of


def unroll_linear(
    cell: Any, params: Any, state: Any, xs: Any, simulator: Any
) -> tuple[Any, Any]:
    """`(state, ys)` of a linear cell: XLA computes the coefficients, the kernel the states."""
    zs = over_time_and_batch(cell.project, params, xs)
    a, b = over_time_and_batch(cell.coefficients, params, zs)
    op = TpuLinear(simulator)
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
