"""The C++ kernels as differentiable operations, and the table of the cells that have one.

Only the table `_ROWS` knows both cells and kernels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._autodiff._fold import SHARED, RowAxes
from .._autodiff._native_op import NativeOp
from .._autodiff._op import call
from .._layer import Cell, LinearCell
from ..cells import GRU, LSTM, MGU, Elman, IndRNN, PeepholeLSTM
from ..kernels import _native, reference
from ..kernels.reference import Operands as Operands
from ..kernels.reference import StepMask as StepMask
from ..kernels.reference import layer as reference_layer
from ..kernels.reference import linear as reference_linear
from ..layers import LearnedState
from ..layers._forced import Forced


def _row_axes(x: Any, state: Any, weights: Any) -> Operands:
    return Operands(x, state, weights, weights, weights, weights, weights)


@dataclass(frozen=True)
class LayerKernel(NativeOp):
    """A whole layer, from the projection to the outputs, by the kernel of this name."""

    name: str
    rows = RowAxes(
        operands=_row_axes(1, 0, SHARED), nondiff=1, out=(0, 1), saved=(1, 1)
    )

    @property
    def _op(self):
        return _native.ops()[self.name]

    def reference(self, operands, nondiff):
        return reference_layer(getattr(reference, self.name), operands, nondiff)

    def native_value(self, operands, nondiff):
        return _native.forward(self._op, operands, nondiff, residuals=False)[:2]

    def native_forward(self, operands, nondiff):
        state, ys, kept = _native.forward(self._op, operands, nondiff, residuals=True)
        return (state, ys), (ys, kept)

    def native_backward(self, operands, nondiff, saved, grads, wanted):
        return _native.backward(
            self._op,
            operands,
            nondiff,
            saved,
            *grads,
            inputs=wanted.x,
            weights=any(jax.tree.leaves(wanted[3:])),
        )


@dataclass(frozen=True)
class LinearKernel(NativeOp):
    """The diagonal linear recurrence of a and b `(T, B, ...)` and h0 `(B, ...)`.

    `nondiff` are the resets `(T, B)`, or None.
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


class Row(NamedTuple):
    """The name of a kernel, and the names of the params that are its vectors."""

    kernel: str
    vectors: tuple[str, ...] = ()


def _gru(cell: GRU) -> Row:
    return Row("gru_after", ("b_n",)) if cell.reset_after else Row("gru_before")


_ROWS: dict[type[Cell], Callable[[Any], Row]] = {
    LSTM: lambda cell: Row("lstm_coupled" if cell.coupled else "lstm"),
    GRU: _gru,
    Elman: lambda cell: Row(f"elman_{_ACTIVATIONS.get(cell.activation)}"),
    IndRNN: lambda cell: Row(f"indrnn_{_ACTIVATIONS.get(cell.activation)}", ("u",)),
    MGU: lambda cell: Row("mgu"),
    PeepholeLSTM: lambda cell: Row("peephole_lstm", ("p_i", "p_f", "p_o")),
}
"""The kernel of each cell. If `reference` has no step of this name, the cell has no kernel:
for example `elman_None`, where the activation is neither tanh nor ReLU."""


@dataclass(frozen=True)
class KernelMatch:
    """The kernel of a cell; `own` picks its params out of the params of a wrapper."""

    row: Row
    own: Callable[[Any], Any]

    @property
    def kernel(self) -> LayerKernel:
        return LayerKernel(self.row.kernel)

    def operands(self, params: Any, x: Any, hidden: int) -> tuple[Any, tuple[Any, ...]]:
        """The inputs and the weights, in the floating-point dtype of the weights."""
        weights = self.weights(params, hidden)
        return as_floats(x, weights[0]), weights

    def weights(self, params: Any, hidden: int) -> tuple[Any, ...]:
        """`(w, u, b, vectors)`; a bias that the cell does not have is zeros."""
        own = self.own(params)
        zeros = lambda size: jnp.zeros(size, own.w.dtype)
        either = lambda given, size: zeros(size) if given is None else given
        vectors = tuple(either(getattr(own, v), hidden) for v in self.row.vectors)
        u = None if "u" in self.row.vectors else own.u
        return own.w, u, either(own.b, own.w.shape[1]), vectors


@dataclass(frozen=True)
class ForcedMatch(KernelMatch):
    """The kernel of a cell with generalized teacher forcing, if h enters by one matmul.

    (alpha d + (1 - alpha) h) U = (alpha d) U + h ((1 - alpha) U), so the data d are
    further inputs, and U is scaled. Units that are not forced keep their weights.
    """

    alpha: float

    def operands(self, params, x, hidden):
        w, u, *rest = self.weights(params, hidden)
        (data,) = jax.tree.leaves(x.data)
        n = data.shape[-1]
        own = jnp.concatenate([(1 - self.alpha) * u[:n], u[n:]])
        inputs = jnp.concatenate([as_floats(x.value, w), data], axis=-1)
        return inputs, (jnp.concatenate([w, self.alpha * u[:n]]), own, *rest)


def as_floats(x: Array, like: Array) -> Array:
    """Integers and booleans in the dtype of `like`; others as they are."""
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(like.dtype)


def why_none(cell: Cell) -> str:
    """The reason why a cell has no kernel; it may be of a cell inside a wrapper."""
    inner = getattr(cell, "cell", None)
    own = getattr(cell, "no_kernel", "")
    if not own and isinstance(inner, Cell):
        return why_none(inner)
    return own or "it has no kernel for this cell"


def find(cell: Cell) -> KernelMatch | None:
    """The kernel for a cell; None if there is none."""
    if type(cell) is LearnedState:
        inner = find(cell.cell)
        return inner and KernelMatch(inner.row, lambda params: inner.own(params.cell))
    if type(cell) is Forced:
        return _forced(cell)
    if type(cell) not in _ROWS or not _standard(cell):
        return None
    row = _ROWS[type(cell)](cell)
    return (
        KernelMatch(row, lambda params: params)
        if hasattr(reference, row.kernel)
        else None
    )


def _forced(cell: Forced) -> KernelMatch | None:
    """The kernel of a cell with teacher forcing; it must add h U to the projection."""
    found = find(cell.cell)
    if cell.alpha is None or found is None or not found.row.kernel.startswith("elman"):
        return None
    return ForcedMatch(found.row, found.own, cell.alpha)


def _standard(cell: Any) -> bool:
    """Whether a cell has the activations of the kernels and does not clip."""
    gated = isinstance(cell, LSTM | GRU)
    usual = jnp.tanh, jax.nn.sigmoid
    same = not gated or (cell.activation, cell.gate_activation) == usual
    return same and getattr(cell, "clip", None) is None


def run_layer(
    found: KernelMatch, cell: Cell, params: Any, state: Any, x: Any, mask: StepMask
) -> tuple[Any, Array]:
    """`(state, ys)` of a cell, by its kernel."""
    leaves, structure = jax.tree.flatten(state)
    start = jax.tree.leaves(cell.initial_state(params))
    x, weights = found.operands(params, x, leaves[0].shape[-1])
    operands = Operands(x, tuple(leaves), tuple(start), *weights)
    after, ys = call(found.kernel, operands, mask)
    return jax.tree.unflatten(structure, after), ys


def run_linear(cell: LinearCell, a: Any, b: Any, state: Any, resets: Any = None) -> Any:
    """The states after every step, for coefficients a and b `(T, B, ...)`.

    A step at which `resets` `(T, B)` is true does not read the state before it.
    """
    del cell
    one = lambda a, b, h: call(LinearKernel(), (a, b, h), resets)
    return jax.tree.map(one, a, b, state)


missing = _native.missing
