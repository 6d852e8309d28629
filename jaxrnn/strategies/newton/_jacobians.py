"""How much of a step's Jacobian Newton's method takes into account.

A Jacobian knows how to linearise a step, and how to solve the linear recurrence that the
linearised steps make. States are vectors of N floats, `(T, B, N)`, leaf after leaf.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._layer import Static, over_time_and_batch
from ..._typing import Mask
from . import _recurrences as recurrences


Vectors: TypeAlias = Float[Array, "T B n"]


class Step(NamedTuple):
    """A recurrence over vectors, and what is known of it.

    Attributes:
        call: `(params, vector, z) -> vector`, of one example.
        size: N, the length of a vector.
        leaves: how many parts of equal length the state has; 0 if they differ.
        elementwise: whether unit u of each part depends on unit u of the parts alone.
    """

    call: Callable
    size: int
    leaves: int
    elementwise: bool

    def units(self, vectors: Array) -> Array:
        """Each unit's parts together: `(..., N) -> (..., H, k)`."""
        return vectors.reshape(*vectors.shape[:-1], self.leaves, -1).swapaxes(-1, -2)

    def vectors(self, units: Array) -> Array:
        """`(..., H, k) -> (..., N)`."""
        return units.swapaxes(-1, -2).reshape(*units.shape[:-2], -1)


class Jacobian(Static, abc.ABC):
    """The part of each step's Jacobian that `jaxrnn.Newton` uses."""

    @abc.abstractmethod
    def why_not(self, step: Step) -> str | None:
        """Why this form does not fit a cell; None if it does."""

    @abc.abstractmethod
    def floats(self, step: Step) -> int:
        """Numbers kept for one step of one row."""

    @abc.abstractmethod
    def linearise(
        self, step: Step, params: Any, before: Vectors, zs: Any
    ) -> tuple[Vectors, Array]:
        """The state after each step, and this part of its Jacobian by the state before."""

    @abc.abstractmethod
    def solve(
        self,
        step: Step,
        a: Array,
        b: Vectors,
        damping: float = 0.0,
        resets: Mask | None = None,
    ) -> Vectors:
        """`d_t = A_t d_{t-1} + b_t` from zero, and again at resets; damped, each step is
        shortened."""

    @abc.abstractmethod
    def transposed(self, a: Array) -> Array:
        """The transpose of each step's matrix."""

    def adjoint(
        self, step: Step, a: Array, g: Vectors, resets: Mask | None = None
    ) -> Vectors:
        """`l_t = g_t + A_{t+1}^T l_{t+1}` from zero: backpropagation, which stops where the
        step after this one is reset."""
        shifted = lambda x: jnp.concatenate([x[1:], jnp.zeros_like(x[:1])])[::-1]
        cuts = None if resets is None else shifted(resets)
        return self.solve(step, self.transposed(shifted(a)), g[::-1], resets=cuts)[::-1]


def _tangent(step: Step, params: Any, before: Vectors, zs: Any, tangent: Array):
    """The state after each step, and its derivative along one direction, `(N,)`."""
    along = jnp.broadcast_to(tangent, before.shape)
    after = lambda before: over_time_and_batch(step.call, params, before, zs)
    return jax.jvp(after, (before,), (along,))


@dataclass(frozen=True)
class FullJacobian(Jacobian):
    """All of it, N x N: Newton's method, "DEER", which converges quadratically.

    Keeps T B N^2 numbers and multiplies N x N matrices, so it is for small states.

    Reference: Lim, Zhu, Selfridge, Kasim 2024, arXiv:2309.12252.
    """

    def why_not(self, step):
        return None

    def floats(self, step):
        return step.size**2

    def linearise(self, step, params, before, zs):
        def both(params, vector, z):
            jacobian = jax.jacfwd(step.call, argnums=1)(params, vector, z)
            return step.call(params, vector, z), jacobian

        return over_time_and_batch(both, params, before, zs)

    def solve(self, step, a, b, damping=0.0, resets=None):
        if damping:
            gains = recurrences.matrix_gains(a, damping)
            a, b = gains @ a, recurrences.apply(gains, b)
        return recurrences.matrix(a, b, resets)

    def transposed(self, a):
        return a.swapaxes(-1, -2)


@dataclass(frozen=True)
class DiagonalJacobian(Jacobian):
    """Its diagonal: "quasi-DEER"; exact where the state is one part and element-wise.

    Keeps T B N numbers. For other cells the iteration converges linearly, and each
    iteration takes N derivatives of the step to find the diagonal, one at a time.

    Reference: Gonzalez, Warrington, Smith, Linderman 2024, arXiv:2407.19115.
    """

    def why_not(self, step):
        return None

    def floats(self, step):
        return step.size

    def linearise(self, step, params, before, zs):
        along = lambda tangent: _tangent(step, params, before, zs, tangent)
        if not step.elementwise:
            entry = lambda n: along(_unit(n, before))[1][..., n]
            diagonal = jax.lax.map(entry, jnp.arange(step.size))
            return over_time_and_batch(step.call, params, before, zs), jnp.moveaxis(
                diagonal, 0, -1
            )
        # each part in turn: unit u of a part sees unit u of the other parts as well
        length = step.size // step.leaves
        rows, after = [], before
        for part in range(step.leaves):
            after, column = along(_part(part, length, before))
            rows.append(column[..., part * length : (part + 1) * length])
        return after, jnp.concatenate(rows, axis=-1)

    def solve(self, step, a, b, damping=0.0, resets=None):
        if damping:
            gains = recurrences.diagonal_gains(a, damping)
            a, b = gains * a, gains * b
        return recurrences.diagonal(a, b, resets)

    def transposed(self, a):
        return a


@dataclass(frozen=True)
class BlockJacobian(Jacobian):
    """A k x k block for each unit of a state in k equal parts, such as the h and c of an LSTM.

    Exact for element-wise cells, whatever k. Keeps T B N k numbers.

    Reference: Danieli et al. 2025, arXiv:2510.21450.
    """

    def why_not(self, step):
        if step.leaves:
            return None
        return "the parts of its state differ in size, so that they do not pair up"

    def floats(self, step):
        return step.size * step.leaves

    def linearise(self, step, params, before, zs):
        along = lambda tangent: _tangent(step, params, before, zs, tangent)
        length = step.size // step.leaves
        if step.elementwise:
            columns, after = [], before
            for part in range(step.leaves):
                after, column = along(_part(part, length, before))
                columns.append(step.units(column))
            return after, jnp.stack(columns, axis=-1)

        def entries(n):  # the column of unit n % length in its own block
            return step.units(along(_unit(n, before))[1])[..., n % length, :]

        columns = jax.lax.map(entries, jnp.arange(step.size))  # (k H, T, B, k)
        blocks = columns.reshape(step.leaves, length, *columns.shape[1:])
        after = over_time_and_batch(step.call, params, before, zs)
        return after, jnp.moveaxis(blocks, (0, 1), (-1, -3))

    def solve(self, step, a, b, damping=0.0, resets=None):
        b = step.units(b)
        if damping:
            gains = recurrences.matrix_gains(a, damping)
            a, b = gains @ a, recurrences.apply(gains, b)
        return step.vectors(recurrences.matrix(a, b, resets))

    def transposed(self, a):
        return a.swapaxes(-1, -2)


def _unit(n: Any, like: Array) -> Array:
    """The direction of one entry."""
    return (jnp.arange(like.shape[-1]) == n).astype(like.dtype)


def _part(part: int, length: int, like: Array) -> Array:
    """The direction of all entries of one part."""
    return (jnp.arange(like.shape[-1]) // length == part).astype(like.dtype)
