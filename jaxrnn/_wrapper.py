"""Base classes of cells that wrap another cell."""

from dataclasses import dataclass

from ._layer import Cell


@dataclass(frozen=True)
class Around(Cell):
    """A cell that delegates to `cell`; subclasses override some of the methods."""

    cell: Cell

    @property
    def input_size(self):
        """The number of input features; None if the cell does not define it."""
        return getattr(self.cell, "input_size", None)

    def init(self, key):
        return self.cell.init(key)

    def initial_state(self, params):
        return self.cell.initial_state(params)

    def project(self, params, x):
        return self.cell.project(params, x)

    def recur(self, params, state, z):
        return self.cell.recur(params, state, z)

    def readout(self, params, state, z):
        return self.cell.readout(params, state, z)


@dataclass(frozen=True)
class Wrapper(Around):
    """A wrapper whose inputs are NamedTuples with the cell's own input in `value`.

    The other fields carry further inputs, such as masks. A subclass defines `recur`, which
    finds the cell's projection in `z.value`.
    """

    def project(self, params, x):
        return x._replace(value=self.cell.project(params, x.value))

    def readout(self, params, state, z):
        return self.cell.readout(params, state, z.value)


def clips_gradient(cell: Cell) -> bool:
    """Whether a cell, or one that it wraps, clips the gradient by its state.

    Its backward pass is then not linear, so that neither Jacobians nor traces describe it.
    """
    inner = getattr(cell, "cell", None)
    own = getattr(cell, "clips_gradient", False)
    return own or (isinstance(inner, Cell) and clips_gradient(inner))
