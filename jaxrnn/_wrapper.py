"""A cell over inputs that carry more than its own, such as marks or masks."""

from dataclasses import dataclass

from ._layer import Cell


@dataclass(frozen=True)
class Wrapper(Cell):
    """`cell`, over inputs that are NamedTuples with the cell's own in `value`.

    A variant gives `recur`, which finds what the cell projected in `z.value`.
    """

    cell: Cell

    def init(self, key):
        return self.cell.init(key)

    def initial_state(self, params):
        return self.cell.initial_state(params)

    def project(self, params, x):
        return x._replace(value=self.cell.project(params, x.value))

    def readout(self, params, state, z):
        return self.cell.readout(params, state, z.value)
