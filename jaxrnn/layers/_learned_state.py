"""A wrapper that trains the initial state with the parameters."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import as_complex
from .._layer import Cell, LinearCell, MatrixCell
from .._validate import check_kind


class ComplexParts(NamedTuple):
    """A complex array as two real arrays, which an optimizer can train.

    For a real function of a complex array, `jax.grad` returns the conjugate of the
    direction of steepest ascent, so a step against it need not descend. For real arrays it
    returns the direction itself.
    """

    re: Float[Array, "*s"]
    im: Float[Array, "*s"]


class LearnedStateParams(NamedTuple):
    """The trained initial state, and the cell's own parameters.

    Complex arrays of the state are stored as `ComplexParts`: all parameters are real.
    """

    initial: Any
    cell: Any


@dataclass(frozen=True)
class LearnedState(Cell):
    """A cell whose initial state is a parameter: `s_0 = params.initial`.

    The parameter starts at the cell's own initial state. Resets return to it as well, so
    its gradient is the sum over all restarts. If the state is complex, `initial` holds its
    real and imaginary parts (`jaxrnn.layers.ComplexParts`).

    Args:
        cell: the cell to wrap.

    Raises:
        TypeError: if `cell` is not a cell; in a stack, wrap each cell.

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
        # Strategies choose by type: `Associative` needs a `LinearCell`, `Chunked` that or a
        # `MatrixCell`. So the class is swapped for the subclass of the cell's kind, and
        # every strategy of the cell runs the wrapper too. `copy` and `pickle` call `__new__`
        # on that subclass and without arguments, hence the default.
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
        """The number of input features; None if the cell does not define it."""
        return getattr(self.cell, "input_size", None)

    def init(self, key):
        params = self.cell.init(key)
        initial = jax.tree.map(_as_parameter, self.cell.initial_state(params))
        return LearnedStateParams(initial, params)

    def initial_state(self, params):
        # the state has the cell's own dtype, which may be wider than the parameters' dtype
        own = jax.eval_shape(self.cell.initial_state, params.cell)
        return jax.tree.map(_as_state, own, params.initial)

    def project(self, params, x):
        return self.cell.project(params.cell, x)

    def recur(self, params, state, z):
        return self.cell.recur(params.cell, state, z)

    def readout(self, params, state, z):
        return self.cell.readout(params.cell, state, z)

    def __str__(self):
        return f"LearnedState(cell={self.cell})"


def _as_parameter(s: Array) -> Any:
    """A copy of an array, or the real and imaginary parts of a complex array."""
    # A train step donates the parameters, and no buffer may be donated twice: a cell may
    # use one array for two parts of its state, or a parameter as its state.
    return ComplexParts(s.real, s.imag) if jnp.iscomplexobj(s) else jnp.copy(s)


def _as_state(like: Any, s: Any) -> Array:
    """The inverse of `_as_parameter`, in the dtype of `like`."""
    if isinstance(s, ComplexParts):
        return as_complex(s.re, s.im, like.dtype)
    # a copy, so that donating the state does not delete the parameter
    return jnp.copy(s).astype(like.dtype)


@dataclass(frozen=True)
class LinearLearnedState(LinearCell, LearnedState):
    """`LearnedState` of a linear cell, itself a linear cell."""

    cell: LinearCell

    def coefficients(self, params, z):
        return self.cell.coefficients(params.cell, z)


@dataclass(frozen=True)
class MatrixLearnedState(MatrixCell, LearnedState):
    """`LearnedState` of a matrix cell, itself a matrix cell."""

    cell: MatrixCell

    def chunk(self, params, state, zs, step_mask):
        return self.cell.chunk(params.cell, state, zs, step_mask)
