"""`jax.experimental.rnn`: cuDNN's LSTM, in float32 and on CUDA only.

Chosen: batch-first inputs, its only layout; all layers and directions in one call, from
one flat vector of weights; the default precision, which allows TF32. It always takes
lengths. It has no single step.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import rnn

from ..cases import Case
from ..problem import Cell, positions
from ._jax import JaxPeer, Model, Stepper


class CudnnPeer(JaxPeer):
    """cuDNN through JAX."""

    title = "jax.experimental.rnn"
    distribution = "jax"
    batch_first = True

    def absent(self) -> str | None:
        if jax.default_backend() == "gpu":
            return None
        return f"CUDA only; this is JAX on {jax.default_backend()}"

    def computes(self, case: Case) -> Case:
        if case.kind != "lstm":
            raise NotImplementedError("LSTM only")
        if case.dtype != "float32":
            raise NotImplementedError("float32 only")
        if case.single_steps:
            raise NotImplementedError("whole sequences only")
        return case

    def pack(self, case: Case, cells: list[Cell]) -> Any:
        weights = [m.T.ravel() for cell in cells for m in (cell["w"], cell["u"])]
        zero = np.zeros_like(cells[0]["b"])
        biases = [b for cell in cells for b in (cell["b"], zero)]
        return np.concatenate(weights + biases)

    def unpack(self, case: Case, variables: Any) -> list[Cell]:
        stacked, cells, at = 4 * case.hidden, [], 0
        for position in positions(case):
            cell = {}
            sizes = {"w": case.layer_inputs(position.layer), "u": case.hidden}
            for name, size in sizes.items():
                block = variables[at : at + stacked * size]
                cell[name] = block.reshape(stacked, size).T
                at += stacked * size
            cells.append(cell)
        for cell in cells:
            cell["b"] = variables[at : at + stacked]
            at += 2 * stacked
        return cells

    def model(self, case: Case) -> Model:
        def model(weights, xs, lengths):
            if lengths is None:
                lengths = jnp.full(xs.shape[0], xs.shape[1], jnp.int32)
            count = case.layers * case.directions
            zeros = jnp.zeros((count, xs.shape[0], case.hidden))
            ys, h, _ = rnn.lstm(
                *(xs, zeros, zeros, weights, lengths),
                input_size=case.inputs,
                hidden_size=case.hidden,
                num_layers=case.layers,
                dropout=0.0,
                bidirectional=case.bidirectional,
            )
            return h[-case.directions], ys

        return model

    def stepper(self, case: Case) -> Stepper:
        raise NotImplementedError("whole sequences only")


PEER = CudnnPeer()
