"""Keras 3 on JAX: `layers.LSTM`, `GRU`, `SimpleRNN`, and `Bidirectional` of them.

Chosen: `stateless_call` under `jax.jit`, as in its guide to training loops in JAX;
batch-first inputs, its only layout; sequences and states returned; the defaults
`use_cudnn="auto"` and `reset_after=True`, which projects the inputs of a GRU for all time
steps at once; a mask for variable lengths. The custom cell is a `keras.Layer` in
`layers.RNN`.
"""

import functools
import os
from typing import Any


os.environ["KERAS_BACKEND"] = "jax"

import jax.numpy as jnp
import keras
import numpy as np

from ..cases import Case
from ..problem import Cell
from ._jax import LayeredPeer, Model, Stepper, reorder_gates


class PeepholeLSTMCell(keras.Layer):
    """An LSTM with peepholes, as a user of Keras would write it."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = [units, units]
        self.output_size = units

    def build(self, shape):
        size, zeros = self.units, "zeros"
        self.kernel = self.add_weight(shape=(shape[-1], 4 * size))
        self.recurrent_kernel = self.add_weight(shape=(size, 4 * size))
        self.bias = self.add_weight(shape=(4 * size,), initializer=zeros)
        self.p_i = self.add_weight(shape=(size,), initializer=zeros)
        self.p_f = self.add_weight(shape=(size,), initializer=zeros)
        self.p_o = self.add_weight(shape=(size,), initializer=zeros)

    def call(self, x, states):
        h, c = states
        ops = keras.ops
        z = ops.matmul(x, self.kernel) + ops.matmul(h, self.recurrent_kernel)
        i, f, g, o = ops.split(z + self.bias, 4, axis=-1)
        i, f = ops.sigmoid(i + self.p_i * c), ops.sigmoid(f + self.p_f * c)
        c = f * c + i * ops.tanh(g)
        h = ops.sigmoid(o + self.p_o * c) * ops.tanh(c)
        return h, [h, c]


_OPTIONS = {"return_sequences": True, "return_state": True}

# The initial weights are replaced; orthogonal ones would take seconds to draw.
_ZEROS = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}

_LAYERS: dict[str, Any] = {
    "lstm": functools.partial(keras.layers.LSTM, **_ZEROS),
    "gru": functools.partial(keras.layers.GRU, **_ZEROS),
    "elman": functools.partial(keras.layers.SimpleRNN, **_ZEROS),
    "peephole_lstm": lambda units, **options: keras.layers.RNN(
        PeepholeLSTMCell(units, dtype=options["dtype"]), **options
    ),
}


class KerasPeer(LayeredPeer):
    """Keras on JAX."""

    title = "Keras"
    distribution = "keras"
    batch_first = True

    def computes(self, case: Case) -> Case:
        if case.kind not in _LAYERS:
            raise NotImplementedError("no such cell")
        return case

    def pack_layer(self, case: Case, cells: list[Cell]) -> Any:
        _net(case, cells[0]["w"].shape[0])
        return [value for cell in cells for value in _pack(case, cell)]

    def unpack_layer(self, case: Case, variables: Any) -> list[Cell]:
        count = len(variables) // case.directions
        parts = [variables[i : i + count] for i in range(0, len(variables), count)]
        return [_unpack(case, part) for part in parts]

    def layer(self, case: Case) -> Model:
        def layer(variables, xs, lengths):
            net = _net(case, xs.shape[-1])
            options = {}
            if lengths is not None:
                options["mask"] = jnp.arange(case.time)[None, :] < lengths[:, None]
            rest = [v.value for v in net.non_trainable_variables]
            (ys, h, *_), _ = net.stateless_call(variables, rest, xs, **options)
            return h, ys

        return layer

    def stepper(self, case: Case) -> Stepper:
        cell = _net(case, case.inputs).cell
        zeros = jnp.zeros((1, case.hidden))
        states = [zeros] if case.kind in ("gru", "elman") else [zeros, zeros]

        def step(variables, state, x):
            rest = [v.value for v in cell.non_trainable_variables]
            (y, state), _ = cell.stateless_call(variables[0], rest, x, state)
            return list(state), y

        return Stepper(step, states, (1, case.inputs))


@functools.cache
def _net(case: Case, inputs: int) -> Any:
    """One layer. `pack_layer` builds it, since building inside a trace would fail."""
    net = _LAYERS[case.kind](case.hidden, **_OPTIONS, dtype=case.dtype)
    net = keras.layers.Bidirectional(net) if case.bidirectional else net
    net.build((case.batch, case.time, inputs))
    return net


def _pack(case: Case, cell: Cell) -> list[Any]:
    w, u, b = cell["w"], cell["u"], cell["b"]
    if case.kind == "gru":
        # The second row of its bias is added to the recurrent matmul.
        second = np.zeros_like(b)
        second[-case.hidden :] = cell["b_n"]
        return [_zrn(w), _zrn(u), np.stack([_zrn(b), second])]
    return [w, u, b, *(cell[n] for n in ("p_i", "p_f", "p_o") if n in cell)]


def _unpack(case: Case, variables: list[Any]) -> Cell:
    w, u, b, *peepholes = variables
    if case.kind == "gru":
        b_n = b[1, -case.hidden :]
        return {"w": _zrn(w), "u": _zrn(u), "b": _zrn(b[0]), "b_n": b_n}
    cell = {"w": w, "u": u, "b": b}
    return cell | dict(zip(("p_i", "p_f", "p_o"), peepholes, strict=False))


def _zrn(a: Any) -> Any:
    """Gates r, z, n in the order z, r, n; it is its own inverse."""
    return reorder_gates(a, "rzn", "zrn")


PEER = KerasPeer()
