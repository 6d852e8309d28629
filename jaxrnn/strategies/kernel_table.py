"""The native kernels as differentiable functions, and which cell has one.

The table `find` is the one place that knows both cells and kernels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._autodiff._fold import SHARED, RowAxes
from .._autodiff._native_op import NativeOp
from .._autodiff._op import call
from .._layer import Cell, LinearCell
from ..cells import GRU, LSTM, Elman, IndRNN
from ..kernels import _native
from ..kernels._native import OPS, Op
from ..kernels.reference import Marks as Marks
from ..kernels.reference import Operands as Operands
from ..kernels.reference import layer as reference_layer
from ..kernels.reference import linear as reference_linear
from ..layers import LearnedState


def _row_axes(x: Any, state: Any, weights: Any) -> Operands:
    return Operands(x, state, weights, weights, weights, weights, weights)


@dataclass(frozen=True)
class LayerKernel(NativeOp):
    """A whole layer: projection, recurrence and readout."""

    op: Op
    rows = RowAxes(
        operands=_row_axes(1, 0, SHARED), nondiff=1, out=(1, 0), saved=(1, 1)
    )

    def reference(self, operands, nondiff):
        return reference_layer(self.op.step, operands, nondiff)

    def native_value(self, operands, nondiff):
        return _native.forward(self.op, operands, nondiff, residuals=False)[:2]

    def native_forward(self, operands, nondiff):
        ys, state, kept = _native.forward(self.op, operands, nondiff, residuals=True)
        return (ys, state), (ys, kept)

    def native_backward(self, operands, nondiff, saved, grads, wanted):
        return _native.backward(
            self.op,
            operands,
            nondiff,
            saved,
            *grads,
            inputs=wanted.x,
            weights=any(jax.tree.leaves(wanted[3:])),
        )


@dataclass(frozen=True)
class LinearKernel(NativeOp):
    """The diagonal linear recurrence, of `(a, b, h0)`: `(T, B, ...)` and `(B, ...)`.

    The nondiff are resets `(T, B)`, or None.
    """

    rows = RowAxes(operands=(1, 1, 0), nondiff=1, out=1, saved=1)

    def reference(self, operands, nondiff):
        a, b, h0 = operands
        return reference_linear(a, b, h0, nondiff)

    def native_value(self, operands, nondiff):
        a, b, h0 = operands
        return _native.linear(a, b, h0, nondiff)

    def native_forward(self, operands, nondiff):
        hs = self.native_value(operands, nondiff)
        return hs, hs

    def native_backward(self, operands, nondiff, saved, grads, wanted):
        a, _, h0 = operands
        return _native.linear_backward(a, saved, h0, grads, nondiff)


_ACTIVATIONS: dict[Callable[..., Any], str] = {jnp.tanh: "tanh", jax.nn.relu: "relu"}


@dataclass(frozen=True)
class Found:
    """The kernel of a cell, and where among its params the cell's own are."""

    kernel: LayerKernel
    own: Callable[[Any], Any]


def find(cell: Cell) -> Found | None:
    """The kernel for a cell; None if there is none."""
    if type(cell) is LearnedState:
        inner = find(cell.cell)
        return inner and Found(inner.kernel, lambda params: inner.own(params.cell))
    name = ""
    if not _standard(cell):
        return None
    if type(cell) is LSTM:
        name = "lstm_coupled" if cell.coupled else "lstm"
    elif type(cell) is GRU:
        name = "gru_after" if cell.reset_after else "gru_before"
    elif type(cell) is Elman:
        name = f"elman_{_ACTIVATIONS.get(cell.activation)}"
    elif type(cell) is IndRNN:
        name = f"indrnn_{_ACTIVATIONS.get(cell.activation)}"
    return Found(LayerKernel(OPS[name]), lambda params: params) if name in OPS else None


def _standard(cell: Any) -> bool:
    """Whether a cell has the activations that kernels have, unclipped."""
    gated = isinstance(cell, LSTM | GRU)
    usual = jnp.tanh, jax.nn.sigmoid
    same = not gated or (cell.activation, cell.gate_activation) == usual
    return same and getattr(cell, "clip", None) is None


def _biases(op: Op, own: Any) -> tuple[Array, Array | None]:
    """`b` and `b_n` of a cell, zero where it has none and its kernel wants one."""
    if own.b is not None:
        return own.b, getattr(own, "b_n", None)
    zeros = lambda *shape: jnp.zeros(shape, own.w.dtype)
    return zeros(own.w.shape[1]), zeros(len(own.u)) if op == OPS["gru_after"] else None


def run_layer(
    found: Found, cell: Cell, params: Any, x: Array, state: Any, nondiff: Marks
) -> tuple[Any, Array]:
    """`(state, ys)` of a cell that has a kernel."""
    leaves, structure = jax.tree.flatten(state)
    start = jax.tree.leaves(cell.initial_state(params))
    own = found.own(params)
    weights = own.w, own.u, *_biases(found.kernel.op, own)
    operands = Operands(x, tuple(leaves), tuple(start), *weights)
    ys, after = call(found.kernel, operands, nondiff)
    return jax.tree.unflatten(structure, after), ys


def run_linear(cell: LinearCell, a: Any, b: Any, state: Any, resets: Any = None) -> Any:
    """The states after every step, of coefficients `(T, B, ...)`.

    A step with a reset, `(T, B)`, does not read the state before it.
    """
    del cell
    one = lambda a, b, h: call(LinearKernel(), (a, b, h), resets)
    return jax.tree.map(one, a, b, state)


missing = _native.missing
