"""The floor: the matmuls of a case, and nothing else.

Forward: the projection of the inputs for all time steps as one matmul, then T matmuls of
the state with U, each of which needs the one before. Backward: the forward matmuls, T
matmuls with the transpose of U, and one matmul each, over all time steps, for the gradients
of W, U and the inputs. An optimizer step leaves out the gradient of the inputs. A single
step has one sequence and one time step.

U begins with an orthogonal matrix, so that T multiplications by it neither grow nor shrink
a state. The result is compared with NumPy's, which shows that XLA has not optimized away
any of the work.

Chosen: XLA's matmuls inside `lax.fori_loop`. Results overwrite the results of the call
before, since new memory costs page faults, which are no part of a matmul. A contender can
be faster than the floor: by matmuls that are better than XLA's, such as weights packed once
for all steps, or by leaving out the padding, which the floor multiplies.
"""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..cases import KINDS, Case
from ..problem import Array, Problem, positions
from ..verify import Reference, Verdict
from ._base import Peer, Program


_BOUND = 1e-3
_BOUND_BFLOAT16 = 0.2
"""T matmuls in a row lose more than one, and a missing one is far off."""

_COLUMNS = 8


class FloorPeer(Peer):
    """The matmuls alone."""

    title = "floor"
    distribution = "jax"

    def computes(self, case: Case) -> Case:
        if KINDS[case.kind].own:
            raise NotImplementedError("its matmuls depend on the strategy")
        return case

    def build(self, case: Case, problem: Problem) -> "FloorProgram":
        return FloorProgram(case, problem)


class FloorProgram(Program):
    """The matmuls of one case."""

    def __init__(self, case: Case, problem: Problem) -> None:
        self.case = case = (
            dataclasses.replace(case, time=1) if case.single_steps else case
        )
        self.compile_seconds = {}
        self.cells = [_operands(case, position.layer) for position in positions(case)]
        dtype = jnp.dtype(case.dtype)
        self._args = [
            {n: jnp.array(a, dtype) for n, a in c.items()} for c in self.cells
        ]
        self._results: dict[str, Any] = {}
        self._runs = {figure: self._compiled(figure) for figure in case.figures}

    def _compiled(self, figure: str) -> Any:
        def matmuls(cells: Any) -> Any:
            return [
                _matmuls(cell, figure, self.case.time, first=i < self.case.directions)
                for i, cell in enumerate(cells)
            ]

        def rewrite(cells: Any, results: Any) -> Any:
            del results
            return matmuls(cells)

        start = time.perf_counter()
        results = jax.eval_shape(matmuls, self._args)
        jitted = jax.jit(rewrite, donate_argnums=1, keep_unused=True)
        compiled = jitted.lower(self._args, results).compile()
        self.compile_seconds[figure] = time.perf_counter() - start
        self._results[figure] = _blank(results)
        return compiled

    def run(self, figure: str) -> None:
        self._results[figure] = self._runs[figure](self._args, self._results[figure])
        jax.block_until_ready(self._results[figure])

    def judge(self, case: Case, problem: Problem, reference: Reference) -> Verdict:
        figure = "stream" if case.single_steps else "backward"
        self.run(figure)
        results = self._results[figure]
        errors: dict[str, float] = {}
        for cell, result in zip(self.cells, results, strict=True):
            expected_of = _expected(cell, self.case.time)
            for name in result:
                expected = expected_of[name]
                got = np.asarray(jnp.asarray(result[name], jnp.float32))
                got = got[:, : expected.shape[1]]
                worst = np.abs(got - expected).max() / np.abs(expected).max()
                errors[name] = max(errors.get(name, 0.0), float(worst))
        bound = _BOUND if case.dtype == "float32" else _BOUND_BFLOAT16
        return Verdict(errors, dict.fromkeys(errors, bound))


def _blank(results: Any) -> Any:
    """Memory for the results of the first call."""
    return jax.tree.map(lambda r: jnp.zeros(r.shape, r.dtype), results)


def _operands(case: Case, layer: int) -> dict[str, Array]:
    """Random operands of the right shapes; U begins with an orthogonal matrix."""
    random = np.random.default_rng(layer)
    hidden, stacked = case.hidden, case.hidden * len(KINDS[case.kind].gates)
    rows, inputs = case.time * case.batch, case.layer_inputs(layer)
    orthogonal = np.linalg.qr(random.standard_normal((hidden, hidden)))[0]
    rest = random.standard_normal((hidden, stacked - hidden)) / np.sqrt(hidden)
    # The gradients of the other gates are zero, which does not make a matmul faster.
    dz = np.zeros((case.batch, stacked))
    dz[:, :hidden] = random.standard_normal((case.batch, hidden))
    return {
        "xs": random.standard_normal((rows, inputs)),
        "w": random.standard_normal((inputs, stacked)),
        "u": np.concatenate([orthogonal, rest], axis=1),
        "h": random.standard_normal((case.batch, hidden)),
        "hs": random.standard_normal((rows, hidden)),
        "dz": dz,
        "dzs": random.standard_normal((rows, stacked)),
    }


def _matmuls(cell: dict[str, Any], figure: str, time_steps: int, first: bool) -> Any:
    """The matmuls of one cell; `first` if it reads the inputs of the model."""
    w, u, hidden = cell["w"], cell["u"], cell["h"].shape[1]

    def forwards(_, h):
        return (h @ u)[:, :hidden]

    def backwards(_, dz):
        return jax.lax.dynamic_update_slice(dz, dz @ u.T, (0, 0))

    results = {
        "projection": cell["xs"] @ w,
        "states": jax.lax.fori_loop(0, time_steps, forwards, cell["h"]),
    }
    if figure in ("forward", "stream"):
        return results
    results["d states"] = jax.lax.fori_loop(0, time_steps, backwards, cell["dz"])
    results["d w"] = cell["xs"].T @ cell["dzs"]
    results["d u"] = cell["hs"].T @ cell["dzs"]
    if figure == "backward" or not first:
        results["d xs"] = cell["dzs"] @ w.T
    return results


def _expected(cell: dict[str, Array], time_steps: int) -> dict[str, Array]:
    """The same results by NumPy; only some columns of large ones."""
    hidden = cell["h"].shape[1]
    turned = np.linalg.matrix_power(cell["u"][:, :hidden], time_steps)
    dz = np.zeros_like(cell["dz"])
    dz[:, :hidden] = cell["dz"][:, :hidden] @ turned.T
    return {
        "projection": cell["xs"] @ cell["w"][:, :_COLUMNS],
        "states": cell["h"] @ turned,
        "d states": dz,
        "d w": cell["xs"].T @ cell["dzs"][:, :_COLUMNS],
        "d u": cell["hs"].T @ cell["dzs"][:, :_COLUMNS],
        "d xs": cell["dzs"] @ cell["w"][:_COLUMNS].T,
    }


PEER = FloorPeer()
