"""PyTorch's parameters as jaxrnn's, and jaxrnn's gradients by PyTorch's names.

Tests use it to compare the two weight by weight. PyTorch keeps a network as a flat dict
of arrays: `weight_ih_l1_reverse` is the input weight of the backward direction of layer
1. In jaxrnn this is a `Stack` of `Bidirectional` layers of cells; `Stack` or `Bidirectional` is
left out for one layer or one direction. The order of the cells, and so of the rows of PyTorch's
states `(layers * directions, B, H)`, is the same on both sides.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn


Arrays = dict[str, Any]

_CELL_PARAMS = (
    jaxrnn.cells.ElmanParams,
    jaxrnn.cells.GRUParams,
    jaxrnn.cells.LSTMParams,
    jaxrnn.cells.ProjectedLSTMParams,
)


def layer_from_torch(mode: str, weights: Arrays) -> jaxrnn.Layer:
    """The layer for weights of a network whose mode is "LSTM", "GRU" or "RNN_..."."""
    layers = [
        [_cell(mode, _of_cell(weights, suffix)) for suffix in ways]
        for ways in _suffixes(weights)
    ]
    layers = [c[0] if len(c) == 1 else jaxrnn.Bidirectional(*c) for c in layers]
    return layers[0] if len(layers) == 1 else jaxrnn.Stack(tuple(layers))


def params_from_torch(mode: str, weights: Arrays) -> Any:
    """The parameters of that layer."""
    return _nested(weights, lambda s: _params(mode, _of_cell(weights, s)))


def gradients_to_torch(weights: Arrays, gradients: Any) -> Arrays:
    """The gradients of that layer's parameters, by the names of the weights."""
    cells = jax.tree.leaves(gradients, is_leaf=lambda g: isinstance(g, _CELL_PARAMS))
    suffixes = [suffix for ways in _suffixes(weights) for suffix in ways]
    return {
        f"{name}_{suffix}": gradient
        for suffix, cell in zip(suffixes, cells, strict=True)
        for name, gradient in _gradients(cell).items()
    }


def state_from_torch(weights: Arrays, h: Any, c: Any = None) -> Any:
    """The state of that layer; `c` for the LSTM only."""
    rows = iter(h) if c is None else map(jaxrnn.cells.LSTMState, h, c)
    return _nested(weights, lambda _: next(rows))


def state_to_torch(state: Any) -> tuple[Any, ...]:
    """A state, or its gradient, in PyTorch's form: `(h,)`, or `(h, c)` for the LSTM."""
    rows = jax.tree.leaves(
        state, is_leaf=lambda s: isinstance(s, jaxrnn.cells.LSTMState)
    )
    if not isinstance(rows[0], jaxrnn.cells.LSTMState):
        return (jnp.stack(rows),)
    return jnp.stack([s.h for s in rows]), jnp.stack([s.c for s in rows])


def _suffixes(weights: Arrays) -> list[list[str]]:
    """The cells of each layer, by the suffix of their weights' names."""
    names = [name.removeprefix("weight_ih_") for name in weights]
    count = sum(f"l{i}" in names for i in range(len(names)))
    both = [[f"l{i}", f"l{i}_reverse"] for i in range(count)]
    return [[suffix for suffix in ways if suffix in names] for ways in both]


def _nested(weights: Arrays, of_cell: Callable[[str], Any]) -> Any:
    """The results of `of_cell` for each cell, nested like params and states."""
    layers = [[of_cell(suffix) for suffix in ways] for ways in _suffixes(weights)]
    layers = [c[0] if len(c) == 1 else jaxrnn.layers.Directions(*c) for c in layers]
    return layers[0] if len(layers) == 1 else tuple(layers)


def _of_cell(weights: Arrays, suffix: str) -> Arrays:
    """The weights of one cell, with the suffix removed from their names."""
    end = f"_{suffix}"
    return {n.removesuffix(end): w for n, w in weights.items() if n.endswith(end)}


def _cell(mode: str, cell: Arrays) -> jaxrnn.Cell:
    inputs = cell["weight_ih"].shape[1]
    if mode == "GRU":
        return jaxrnn.GRU(inputs, cell["weight_ih"].shape[0] // 3)
    if mode == "LSTM" and "weight_hr" in cell:
        return jaxrnn.ProjectedLSTM(inputs, *reversed(cell["weight_hr"].shape))
    if mode == "LSTM":
        return jaxrnn.LSTM(inputs, cell["weight_ih"].shape[0] // 4)
    activation = {"RNN_TANH": jnp.tanh, "RNN_RELU": jax.nn.relu}[mode]
    return jaxrnn.Elman(inputs, cell["weight_ih"].shape[0], activation)


def _params(mode: str, cell: Arrays) -> Any:
    w, u = cell["weight_ih"].T, cell["weight_hh"].T
    b_i, b_h = cell["bias_ih"], cell["bias_hh"]
    if mode == "GRU":
        # The recurrent bias of n is multiplied by r, so it cannot be merged.
        b_r, b_z, b_n = np.split(b_h, 3)
        merged = b_i + np.concatenate([b_r, b_z, np.zeros_like(b_n)])
        return jaxrnn.cells.GRUParams(w, u, merged, b_n)
    if mode == "LSTM" and "weight_hr" in cell:
        return jaxrnn.cells.ProjectedLSTMParams(w, u, b_i + b_h, cell["weight_hr"].T)
    make = jaxrnn.cells.LSTMParams if mode == "LSTM" else jaxrnn.cells.ElmanParams
    return make(w, u, b_i + b_h)


def _gradients(cell: Any) -> Arrays:
    # Both of two biases that are added have the gradient of their sum.
    named = {
        "weight_ih": cell.w.T,
        "weight_hh": cell.u.T,
        "bias_ih": cell.b,
        "bias_hh": cell.b,
    }
    if isinstance(cell, jaxrnn.cells.GRUParams):
        b_r, b_z, _ = jnp.split(cell.b, 3)
        named["bias_hh"] = jnp.concatenate([b_r, b_z, cell.b_n])
    if isinstance(cell, jaxrnn.cells.ProjectedLSTMParams):
        named["weight_hr"] = cell.w_p.T
    return named
