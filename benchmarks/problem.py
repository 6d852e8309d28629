"""The numbers of a case, in jaxrnn's layout: the same for every contender.

They are computed with NumPy, so that contenders without JAX do not import it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .cases import KINDS, Case


Array = np.ndarray
Cell = dict[str, Any]
"""The weights of a cell or their gradients: w `(I, G)`, u `(H, G)`, b `(G,)` and vectors
`(H,)`; or, for a kind of jaxrnn's own, by the names of its parameters."""


class Position(NamedTuple):
    """The place of a cell: layer 0 is the lowest, direction 1 runs backwards in time."""

    layer: int
    direction: int


@dataclass(frozen=True, eq=False)
class Problem:
    """Inputs, weights, and the gradient of the loss with respect to the outputs.

        loss = sum over valid steps of ys * cotangents

    Attributes:
        xs: `(T, B, I)`; zero in the padding.
        cotangents: `(T, B, directions * H)`; zero in the padding.
        cells: weights, the lowest layer first, and the forward direction first.
        lengths: `(B,)`, in falling order; None if all sequences have T steps.
    """

    xs: Array
    cotangents: Array
    cells: list[Cell]
    lengths: Array | None


def positions(case: Case) -> list[Position]:
    """The cells of a case, in the order of `Problem.cells`."""
    return [
        Position(layer, direction)
        for layer in range(case.layers)
        for direction in range(case.directions)
    ]


def make_problem(case: Case) -> Problem:
    """The numbers of a case: the same in every process."""
    random = np.random.default_rng(0)
    steps = (case.time, case.batch)
    xs = random.standard_normal((*steps, case.inputs), np.float32)
    cotangents = random.standard_normal(
        (*steps, case.directions * case.hidden), np.float32
    )
    cells = [_weights(case, position, random) for position in positions(case)]
    lengths = None
    if case.padded:
        lengths = np.linspace(case.time, 1, case.batch).round().astype(np.int32)
        valid = valid_steps(case, lengths)[..., None]
        xs, cotangents = xs * valid, cotangents * valid
    rounded = lambda a: _representable(a, case.dtype)
    cells = [{name: rounded(value) for name, value in cell.items()} for cell in cells]
    return Problem(rounded(xs), rounded(cotangents), cells, lengths)


def valid_steps(case: Case, lengths: Array | None) -> Array:
    """`(T, B)` booleans, False in the padding."""
    if lengths is None:
        return np.ones((case.time, case.batch), bool)
    return np.arange(case.time)[:, None] < lengths[None, :]


def _weights(case: Case, position: Position, random: np.random.Generator) -> Cell:
    """Uniform within 1 / sqrt(H), biases too, since a zero would hide a mistake."""
    kind, hidden = KINDS[case.kind], case.hidden
    if kind.own:
        return _own_weights(case, random)
    stacked = hidden * len(kind.gates)
    shapes = {
        "w": (case.layer_inputs(position.layer), stacked),
        "u": (hidden, stacked),
        "b": (stacked,),
        **{name: (hidden,) for name in kind.vectors},
    }
    bound = 1 / np.sqrt(hidden)
    cell = {n: random.uniform(-bound, bound, shape) for n, shape in shapes.items()}
    return cell | {name: np.zeros(hidden) for name in kind.fixed}


def _own_weights(case: Case, random: np.random.Generator) -> Cell:
    """The initial weights of the cell with some noise, so that no bias is zero."""
    from .cells import initial_params  # here, since it imports JAX

    def with_noise(value: Any) -> Array:
        value, noise = np.asarray(value), 0.01 * random.standard_normal(value.shape)
        return value + noise * (1 + np.abs(value))

    params = initial_params(case)._asdict()
    return {name: with_noise(value) for name, value in params.items()}


def _representable(a: Array, dtype: str) -> Array:
    """float32 numbers that the dtype represents exactly."""
    a = np.ascontiguousarray(a, np.float32)
    if dtype == "float32":
        return a
    bits = a.view(np.uint32)
    return ((bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)


def named(case: Case, cells: list[Cell]) -> Iterator[tuple[str, Array]]:
    """Every gate of every weight by itself, so that a small one cannot hide an error.

    `u_f` is the forget gate's columns of U. If there is more than one cell, `0.` or `1r.`
    precedes it: the layer, and r for the backward direction.
    """
    kind = KINDS[case.kind]
    for position, cell in zip(positions(case), cells, strict=True):
        where = f"{position.layer}{'r' if position.direction else ''}."
        where = "" if case.layers * case.directions == 1 else where
        if kind.own:
            yield from ((f"{where}{n}", np.asarray(value)) for n, value in cell.items())
            continue
        for name in ("w", "u", "b"):
            blocks = np.split(np.asarray(cell[name]), len(kind.gates), axis=-1)
            for gate, block in zip(kind.gates, blocks, strict=True):
                yield f"{where}{name}_{gate}", block
        for name in kind.vectors:
            if name not in kind.fixed:
                yield f"{where}{name}", np.asarray(cell[name])
