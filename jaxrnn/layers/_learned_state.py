"""An initial state that is trained with the parameters."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import as_complex
from .._layer import Cell, LinearCell, MatrixCell
from .._validate import check_kind


class ComplexParts(NamedTuple):
    """A complex array as two real ones, which an optimizer can train.

    `jax.grad` gives the conjugate of the direction in which a real function of a complex
    number grows, so descending along it does not descend; of real arrays it gives the
    direction itself.
    """

    re: Float[Array, "*s"]
    im: Float[Array, "*s"]


class LearnedStateParams(NamedTuple):
    """The trained initial state, and the cell's own parameters.

    Complex parts of a state are kept as `ComplexParts`, so that all parameters are real.
    """

    initial: Any
    cell: Any


@dataclass(frozen=True)
class LearnedState(Cell):
    """A cell whose initial state is a parameter: `s_0 = params.initial`.

    It starts at the cell's own initial state. Resets go back to it as well, and its
    gradient counts every restart. Where the state is complex, `initial` holds its real and
    imaginary parts (`jaxrnn.layers.ComplexParts`).

    Args:
        cell: the cell.

    Raises:
        TypeError: for anything but a cell; wrap the cells of a stack one by one.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.LearnedState(jaxrnn.GRU(3, 4))
        >>> params = cell.init(jax.random.key(0))
        >>> params.initial.shape
        (4,)

    Reference: Forcada & Carrasco 1995, doi:10.1162/neco.1995.7.5.923.
    """

    cell: Cell

    def __new__(cls, cell: Cell | None = None) -> "LearnedState":
        # what its cell can do, it can do as well; a copy is made without arguments
        if isinstance(cell, LinearCell):
            cls = LinearLearnedState
        elif isinstance(cell, MatrixCell):
            cls = MatrixLearnedState
        return super().__new__(cls)

    def __post_init__(self):
        hint = "give one cell, such as jaxrnn.GRU(8, 64); in a stack, wrap each cell."
        check_kind(self, "cell", self.cell, Cell, hint)

    @property
    def input_size(self):
        """Features that it takes; None if the cell does not say."""
        return getattr(self.cell, "input_size", None)

    def init(self, key):
        params = self.cell.init(key)
        initial = jax.tree.map(_apart, self.cell.initial_state(params))
        return LearnedStateParams(initial, params)

    def initial_state(self, params):
        # a copy, so that a state that is donated does not take the parameter with it
        # and in the cell's own dtype, which may be wider than that of the parameters
        own = jax.eval_shape(self.cell.initial_state, params.cell)
        return jax.tree.map(_joined, own, params.initial)

    def project(self, params, x):
        return self.cell.project(params.cell, x)

    def recur(self, params, state, z):
        return self.cell.recur(params.cell, state, z)

    def readout(self, params, state, z):
        return self.cell.readout(params.cell, state, z)

    def __str__(self):
        return f"LearnedState(cell={self.cell})"


def _apart(s: Array) -> Any:
    """A copy of an array, or the real and imaginary parts of a complex one.

    Params are donated, and a cell may give out one array twice, or a parameter, as its state.
    """
    return ComplexParts(s.real, s.imag) if jnp.iscomplexobj(s) else jnp.copy(s)


def _joined(like: Any, s: Any) -> Array:
    """The array of which `s` holds the parts, in the dtype of another."""
    if isinstance(s, ComplexParts):
        return as_complex(s.re, s.im, like.dtype)
    return jnp.copy(s).astype(like.dtype)


@dataclass(frozen=True)
class LinearLearnedState(LinearCell, LearnedState):
    """`LearnedState` of a linear cell: still linear."""

    cell: LinearCell

    def coefficients(self, params, z):
        return self.cell.coefficients(params.cell, z)


@dataclass(frozen=True)
class MatrixLearnedState(MatrixCell, LearnedState):
    """`LearnedState` of a cell with a matrix state: still one."""

    cell: MatrixCell

    def chunk(self, params, state, zs, step_mask):
        return self.cell.chunk(params.cell, state, zs, step_mask)
