"""The gate: outputs and every gradient against float64, before anything is timed.

The reference is jaxrnn's `Scan()` in float64. The yardstick is the error of the same
`Scan()` in the contender's dtype: the size of rounding errors is a property of the problem
(they grow with T, and where gradients cancel), so a fixed tolerance would be too wide for
short sequences and too narrow for long ones. Errors are relative to the largest entry of
their block, and a block is one gate of one weight.

    error <= 8 max(error of Scan(), eps (8 + sqrt(T) / 4))

The factor 8 allows for sums in another order and other approximations of tanh and sigmoid.
The second term is for blocks in which `Scan()` is unusually exact: it computes the
gradients of W and b as one matmul over all time steps, while most peers add them up step by
step, which rounds T times. In float32 the bound is 1e-5 at T = 100 and 3e-5 at T = 10,000.
A correct contender has errors of 3e-7 at T = 7 and 4e-6 at T = 3000; a wrong order of
gates, a missing bias or a time step off by one gives errors of 1e-2 and more.

In bfloat16 the second term is 1e-2 for every T. The gate of a contender that adds up the
gradients of a thousand steps in bfloat16 is red.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .cases import Case
from .problem import Array, Cell, named, valid_steps


_SLACK = 8
_BFLOAT16 = 1e-2

RATE = 1e-5
"""Adam's learning rate; so small that thousands of steps hardly change the weights."""

_UPDATE_BOUND = 0.02
"""In units of the rate. A float32 weight of 0.3 resolves 3e-8, which is 3e-3 rates."""


class Answer(NamedTuple):
    """The results of a contender, in jaxrnn's layout.

    Attributes:
        ys: `(T, B, directions * H)`; the padding is not compared.
        h: `(B, H)`, after the last valid step of the top layer's forward direction.
        d_xs: `(T, B, I)`, the gradient of the inputs.
        d_cells: the gradients of the weights.
    """

    ys: Array
    h: Array
    d_xs: Array
    d_cells: list[Cell]


@dataclass(frozen=True, eq=False)
class Reference:
    """The results of `Scan()` in float64, in named blocks.

    Attributes:
        blocks: outputs and gradients.
        bounds: the largest error that each may have.
        stream: `(steps, H)`, the first outputs of the first sequence.
    """

    blocks: dict[str, Array]
    bounds: dict[str, float]
    stream: Array

    def save(self, path: Path) -> None:
        """Writes an `.npz` file."""
        bounds = np.array(json.dumps(self.bounds))
        arrays: dict[str, Any] = {**self.blocks, "_bounds": bounds}
        np.savez(path, _stream=self.stream, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """Reads a file that `save` wrote."""
        with np.load(path) as file:
            blocks = {name: file[name] for name in file.files if name[0] != "_"}
            return cls(blocks, json.loads(str(file["_bounds"])), file["_stream"])


@dataclass(frozen=True)
class Verdict:
    """The errors of a contender by block, and their bounds."""

    errors: dict[str, float]
    bounds: dict[str, float]

    @property
    def red(self) -> tuple[str, ...]:
        """The blocks that are wrong; empty if the gate is green."""
        return tuple(
            name
            for name, error in self.errors.items()
            if not error <= self.bounds[name]
        )

    def __or__(self, other: "Verdict") -> "Verdict":
        return Verdict(self.errors | other.errors, self.bounds | other.bounds)

    @property
    def worst(self) -> str:
        """The block whose error is the largest relative to its bound."""
        return max(self.errors, key=lambda name: self.errors[name] / self.bounds[name])

    def __str__(self) -> str:
        names = self.red or (self.worst,)
        shown = [f"{n} {self.errors[n]:.1e} > {self.bounds[n]:.1e}" for n in names[:3]]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return ", ".join(shown) + more if self.red else "green"


def blocks(case: Case, lengths: Array | None, answer: Answer) -> dict[str, Array]:
    """An answer in named blocks, each of which is judged by itself."""
    valid = valid_steps(case, lengths)
    return {
        "ys": np.asarray(answer.ys)[valid],
        "h": np.asarray(answer.h),
        "d xs": np.asarray(answer.d_xs),
        **{f"d {name}": block for name, block in named(case, answer.d_cells)},
    }


def error(got: Any, reference: Array) -> float:
    """The largest difference, relative to the largest entry; infinite for NaN."""
    got = np.asarray(got)
    if got.shape != reference.shape:
        raise ValueError(
            f"shape {got.shape}, where the reference has {reference.shape}"
        )
    if got.size == 0:
        return 0.0
    scale = max(float(reference.max()), -float(reference.min())) or 1.0
    difference = got - reference  # in float64, the dtype of the reference
    worst = max(float(difference.max()), -float(difference.min())) / scale
    return worst if math.isfinite(worst) else math.inf


def errors(got: dict[str, Array], reference: dict[str, Array]) -> dict[str, float]:
    """The error of every block of the reference."""
    return {name: error(got[name], block) for name, block in reference.items()}


def bounds(case: Case, yardstick: dict[str, float]) -> dict[str, float]:
    """The bound of each error, given the errors of `Scan()` in the case's dtype."""
    least = _BFLOAT16
    if case.dtype == "float32":
        least = float(np.finfo(np.float32).eps) * (8 + math.sqrt(case.time) / 4)
    return {name: _SLACK * max(error, least) for name, error in yardstick.items()}


def update_error(before: Array, after: Array, gradient: Array) -> float:
    """The error of the first step of Adam, which is `-rate * sign(gradient)`, in rates.

    Entries of the gradient below a hundredth of the largest are left out, since rounding
    may change their sign.
    """
    clear = np.abs(gradient) > 1e-2 * np.abs(gradient).max()
    moved = (np.asarray(after, np.float64) - np.asarray(before, np.float64)) / RATE
    worst = float(np.abs(moved + np.sign(gradient))[clear].max())
    return worst if math.isfinite(worst) else math.inf


def judge_update(
    case: Case, before: list[Cell], after: list[Cell], reference: dict[str, Array]
) -> Verdict:
    """The verdict on one optimizer step."""
    old, new = dict(named(case, before)), dict(named(case, after))
    errors = {
        f"update {name}": update_error(old[name], new[name], reference[f"d {name}"])
        for name in old
    }
    return Verdict(errors, dict.fromkeys(errors, _UPDATE_BOUND))


def judge_stream(ys: Array, reference: Reference) -> Verdict:
    """The verdict on the first outputs of the first sequence, one step at a time."""
    bound = {"stream": reference.bounds["ys"]}
    return Verdict({"stream": error(ys, reference.stream)}, bound)
