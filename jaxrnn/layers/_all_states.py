"""A wrapper that outputs the state of every step."""

from dataclasses import dataclass

from .._layer import Cell, LinearCell
from .._validate import check_kind
from .._wrapper import Around


@dataclass(frozen=True)
class AllStates(Around):
    """A cell whose output at each step is its state: `y_t = s_t`.

    The outputs are a pytree like the state, leaves `(T, B, ...)`, in the state's own
    dtypes: h and c of an LSTM, the matrices of linear attention. Params and state are the
    same as the cell's. A linear cell stays linear. A matrix cell runs step by step, since
    its chunks do not compute the states in between.

    Args:
        cell: the cell to wrap.

    Raises:
        TypeError: if `cell` is not a cell; in a stack, wrap each cell.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.AllStates(jaxrnn.LSTM(3, 4))
        >>> params = cell.init(jax.random.key(0))
        >>> state, states = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> states.c.shape, bool((states.c[-1] == state.c).all())
        ((5, 2, 4), True)
    """

    cell: Cell

    def __new__(cls, cell: Cell | None = None) -> "AllStates":
        # Strategies choose by type: `Associative`, for one, needs a `LinearCell`. So the
        # class is swapped for the subclass that is one. `copy` and `pickle` call `__new__`
        # on that subclass and without arguments, hence the default.
        if isinstance(cell, LinearCell):
            cls = LinearAllStates
        return super().__new__(cls)

    def __post_init__(self):
        hint = "give one cell, such as jaxrnn.LSTM(8, 64); in a stack, wrap each cell."
        check_kind(self, "cell", self.cell, Cell, hint)

    def readout(self, params, state, z):
        return state

    def __str__(self):
        return f"AllStates(cell={self.cell})"


@dataclass(frozen=True)
class LinearAllStates(LinearCell, AllStates):
    """`AllStates` of a linear cell, itself a linear cell."""

    cell: LinearCell

    def coefficients(self, params, z):
        return self.cell.coefficients(params, z)
