"""The part of each step's Jacobian that Newton's method uses: full, diagonal or blocks.

With h_t = f(h_{t-1}, z_t), a `Jacobian` object computes A_t, this part of df/dh at the
given states, and solves the linear recurrence d_t = A_t d_{t-1} + b_t. The adjoint of that
recurrence is one with A_t^T in reverse, so the same solver serves backpropagation. States
are vectors of N floats, `(T, B, N)`, with the leaves of the state one after the other.

The entries of A_t are found in forward mode, for all steps at once: it gives the states and
their derivatives together, and stores no residuals. If the recurrence is element-wise, one
direction that covers many units gives an entry for each of them.
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
    """A recurrence over vectors, and its known structure.

    Attributes:
        call: `(params, vector, z) -> vector`, for one sequence.
        size: N, the length of a vector.
        leaves: the number of parts of the state, which are its leaves, if all have the same
            length; 0 if not.
        elementwise: whether unit u of each part depends only on unit u of the parts.
    """

    call: Callable
    size: int
    leaves: int
    elementwise: bool

    def units(self, vectors: Array) -> Array:
        """Vectors with the k parts of each unit together: `(..., N) -> (..., H, k)`."""
        return vectors.reshape(*vectors.shape[:-1], self.leaves, -1).swapaxes(-1, -2)

    def vectors(self, units: Array) -> Array:
        """The inverse of `units`: `(..., H, k) -> (..., N)`."""
        return units.swapaxes(-1, -2).reshape(*units.shape[:-2], -1)


class Jacobian(Static, abc.ABC):
    """The part of each step's Jacobian that `jaxrnn.Newton` uses."""

    @abc.abstractmethod
    def why_not(self, step: Step) -> str | None:
        """The reason why this form cannot be used for a cell; None if it can."""

    @abc.abstractmethod
    def floats(self, step: Step) -> int:
        """The number of floats stored for one step of one sequence."""

    @abc.abstractmethod
    def linearise(
        self, step: Step, params: Any, before: Vectors, zs: Any
    ) -> tuple[Vectors, Array]:
        """The state after each step, and A, this part of its derivative by the one before.

        `before` are the states before each step, as Newton's iterate has them.
        """

    @abc.abstractmethod
    def solve(
        self,
        step: Step,
        a: Array,
        b: Vectors,
        damping: float = 0.0,
        resets: Mask | None = None,
    ) -> Vectors:
        """Solves `d_t = A_t d_{t-1} + b_t` from zero, and from zero again at resets.

        With damping, each d_t is shortened by a gain, as a Kalman filter does.
        """

    @abc.abstractmethod
    def transposed(self, a: Array) -> Array:
        """The transpose of each step's matrix A_t."""

    def adjoint(
        self, step: Step, a: Array, g: Vectors, resets: Mask | None = None
    ) -> Vectors:
        """Solves `l_t = g_t + A_{t+1}^T l_{t+1}` from zero at the end: backpropagation.

        No gradient passes to step t from step t + 1 if that one is reset.
        """
        # the recurrence of `solve` in reversed time: step t reads the matrix and the reset
        # of step t + 1, so both are shifted by one, with zeros after the last step
        shifted = lambda x: jnp.concatenate([x[1:], jnp.zeros_like(x[:1])])[::-1]
        cuts = None if resets is None else shifted(resets)
        return self.solve(step, self.transposed(shifted(a)), g[::-1], resets=cuts)[::-1]


def _tangent(step: Step, params: Any, before: Vectors, zs: Any, tangent: Array):
    """The state after each step, and its derivative along the direction `tangent`, `(N,)`."""
    along = jnp.broadcast_to(tangent, before.shape)
    after = lambda before: over_time_and_batch(step.call, params, before, zs)
    return jax.jvp(after, (before,), (along,))


@dataclass(frozen=True)
class FullJacobian(Jacobian):
    """The full N x N Jacobian: Newton's method ("DEER"), which converges quadratically.

    It stores T B N^2 floats and multiplies N x N matrices, so it is for small states.

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
    """The diagonal ("quasi-DEER"), exact for element-wise states of one part.

    It stores T B N floats. For other cells the iteration converges linearly, and each
    iteration takes N derivatives of the step to find the diagonal, one after the other.

    Reference: Gonzalez, Warrington, Smith, Linderman 2024, arXiv:2407.19115.
    """

    def why_not(self, step):
        return None

    def floats(self, step):
        return step.size

    def linearise(self, step, params, before, zs):
        along = lambda tangent: _tangent(step, params, before, zs, tangent)
        if not step.elementwise:
            # entry n is component n of the derivative along direction n. `lax.map` keeps
            # one T B N derivative at a time; all of them at once would be the full
            # Jacobian.
            entry = lambda n: along(_unit(n, before))[1][..., n]
            diagonal = jax.lax.map(entry, jnp.arange(step.size))
            return over_time_and_batch(step.call, params, before, zs), jnp.moveaxis(
                diagonal, 0, -1
            )
        # unit u sees only unit u of each part, so the direction of all units of one part at
        # once gives one entry for every unit. One part after the other, since unit u of a
        # part may depend on unit u of the other parts as well.
        length = step.size // step.leaves
        parts, after = [], before
        for part in range(step.leaves):
            after, column = along(_part(part, length, before))
            parts.append(column[..., part * length : (part + 1) * length])
        return after, jnp.concatenate(parts, axis=-1)

    def solve(self, step, a, b, damping=0.0, resets=None):
        if damping:
            gains = recurrences.diagonal_gains(a, damping)
            a, b = gains * a, gains * b
        return recurrences.diagonal(a, b, resets)

    def transposed(self, a):
        return a


@dataclass(frozen=True)
class BlockJacobian(Jacobian):
    """A k x k block for each unit of a state with k equal parts, as h and c of an LSTM.

    It is exact for element-wise cells with any k, and stores T B N k floats.

    Reference: Danieli et al. 2025, arXiv:2510.21450.
    """

    def why_not(self, step):
        if step.leaves:
            return None
        return "the parts of the state differ in size, so their units do not correspond"

    def floats(self, step):
        return step.size * step.leaves

    def linearise(self, step, params, before, zs):
        along = lambda tangent: _tangent(step, params, before, zs, tangent)
        length = step.size // step.leaves
        if step.elementwise:
            # the direction of part j gives column j of every unit's block
            columns, after = [], before
            for part in range(step.leaves):
                after, column = along(_part(part, length, before))
                columns.append(step.units(column))
            return after, jnp.stack(columns, axis=-1)

        # direction n is part n // length of unit n % length: take that unit's own entries,
        # one column of its block, and leave out the influence on other units
        def entries(n):
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
    """The direction of entry n: one there, zero elsewhere."""
    return (jnp.arange(like.shape[-1]) == n).astype(like.dtype)


def _part(part: int, length: int, like: Array) -> Array:
    """The direction of one part: one in all of its entries, zero elsewhere."""
    return (jnp.arange(like.shape[-1]) // length == part).astype(like.dtype)
