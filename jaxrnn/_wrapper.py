"""Cells around one other cell, which leave to it all that they do not change."""

from dataclasses import dataclass

from ._layer import Cell


@dataclass(frozen=True)
class Around(Cell):
    """`cell` itself. A variant changes some of its methods."""

    cell: Cell

    @property
    def input_size(self):
        """Features that it takes; None if the cell does not say."""
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
    """`cell`, over inputs that are NamedTuples with the cell's own in `value`.

    They carry more than the cell's own, such as masks or masks. A variant gives `recur`,
    which finds what the cell projected in `z.value`.
    """

    def project(self, params, x):
        return x._replace(value=self.cell.project(params, x.value))

    def readout(self, params, state, z):
        return self.cell.readout(params, state, z.value)
