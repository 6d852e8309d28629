"""flax.nnx: `nnx.RNN`, and `nnx.Bidirectional` of two.

Chosen: `OptimizedLSTMCell`, which computes its gates in one matmul; `GRUCell`;
`SimpleCell`. The functional form, `nnx.split` once and `nnx.merge` inside `jax.jit`, which
nnx recommends for speed, since `nnx.jit` walks the module in Python at every call.
Time-major, with the carry returned; `seq_lengths` for variable lengths. The custom cell is
an `nnx.RNNCellBase`.

Its GRU lacks the bias b_n that the reset gate multiplies. It is gated against the GRU with
b_n = 0, without the gradient of b_n.
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import nnx

from ..cases import Case
from ..problem import Cell
from ._jax import LayeredPeer, Model, Stepper


class PeepholeLSTMCell(nnx.RNNCellBase):
    """An LSTM with peepholes, as a user of nnx would write it."""

    def __init__(self, inputs, features, *, rngs):
        self.features = features
        self.dense_i = nnx.Linear(inputs, 4 * features, rngs=rngs)
        self.dense_h = nnx.Linear(features, 4 * features, use_bias=False, rngs=rngs)
        self.p_i = nnx.Param(jnp.zeros(features))
        self.p_f = nnx.Param(jnp.zeros(features))
        self.p_o = nnx.Param(jnp.zeros(features))

    def __call__(self, carry, x):
        c, h = carry
        i, f, g, o = jnp.split(self.dense_i(x) + self.dense_h(h), 4, axis=-1)
        i, f = nnx.sigmoid(i + self.p_i * c), nnx.sigmoid(f + self.p_f * c)
        c = f * c + i * nnx.tanh(g)
        h = nnx.sigmoid(o + self.p_o * c) * nnx.tanh(c)
        return (c, h), h

    def initialize_carry(self, input_shape, rngs=None, carry_init=None):
        zeros = jnp.zeros((*input_shape[:-1], self.features))
        return zeros, zeros

    @property
    def num_feature_axes(self):
        return 1


_CELLS: dict[str, Any] = {
    "lstm": nnx.OptimizedLSTMCell,
    "gru_no_b_n": nnx.GRUCell,
    "elman": nnx.SimpleCell,
    "peephole_lstm": PeepholeLSTMCell,
}
_BIAS = {"lstm": "dense_h"}
"""The matmul that has the bias; in the other cells it is the one with the inputs."""


class NnxPeer(LayeredPeer):
    """flax.nnx."""

    title = "flax.nnx"
    distribution = "flax"

    def computes(self, case: Case) -> Case:
        case = case.of_kind("gru_no_b_n") if case.kind == "gru" else case
        if case.kind not in _CELLS:
            raise NotImplementedError("no such cell")
        return case

    def pack_layer(self, case: Case, cells: list[Cell]) -> Any:
        net = _net(case, _inputs(cells[0]))
        for rnn, cell in zip(_rnns(case, net), cells, strict=True):
            rnn.cell.dense_i.kernel.set_value(cell["w"])
            rnn.cell.dense_h.kernel.set_value(cell["u"])
            biased = getattr(rnn.cell, _BIAS.get(case.kind, "dense_i"))
            biased.bias.set_value(cell["b"])
            if case.kind == "peephole_lstm":
                for name in ("p_i", "p_f", "p_o"):
                    getattr(rnn.cell, name).set_value(cell[name])
        _split(case, _inputs(cells[0]))
        return nnx.split(net, nnx.Param, ...)[1]

    def unpack_layer(self, case: Case, variables: Any) -> list[Cell]:
        if case.bidirectional:
            rnns = [variables["forward_rnn"], variables["backward_rnn"]]
        else:
            rnns = [variables]
        return [_unpack(case, rnn["cell"]) for rnn in rnns]

    def layer(self, case: Case) -> Model:
        def layer(params, xs, lengths):
            graph, rest = _split(case, xs.shape[-1])
            carry, ys = nnx.merge(graph, params, rest, copy=True)(
                xs, seq_lengths=lengths
            )
            return _hidden(carry[0] if case.bidirectional else carry), ys

        return layer

    def stepper(self, case: Case) -> Stepper:
        graph, rest = _split(case, case.inputs)
        shape = (1, case.inputs)
        zeros = jnp.zeros((1, case.hidden))
        start = zeros if case.kind in ("gru_no_b_n", "elman") else (zeros, zeros)

        def step(variables, state, x):
            return nnx.merge(graph, variables[0], rest, copy=True).cell(state, x)

        return Stepper(step, start, shape)


def _inputs(cell: Cell) -> int:
    return cell["w"].shape[0]


@functools.cache
def _split(case: Case, inputs: int) -> tuple[Any, Any]:
    """A layer without its weights. Merge copies of it: a call changes its counters."""
    graph, *states = nnx.split(_net(case, inputs), nnx.Param, ...)
    return graph, states[-1]


def _net(case: Case, inputs: int) -> Any:
    # The initial weights are replaced; orthogonal ones would take seconds to draw.
    zeros = nnx.initializers.zeros_init()
    options: dict[str, Any] = {}
    if case.kind != "peephole_lstm":
        options = {"kernel_init": zeros, "recurrent_kernel_init": zeros}
    if case.dtype != "float32":
        options |= dict.fromkeys(("dtype", "param_dtype"), jnp.dtype(case.dtype))

    def rnn() -> Any:
        cell = _CELLS[case.kind](inputs, case.hidden, rngs=nnx.Rngs(0), **options)
        return nnx.RNN(cell, time_major=True, return_carry=True)

    if not case.bidirectional:
        return rnn()
    return nnx.Bidirectional(rnn(), rnn(), time_major=True, return_carry=True)


def _rnns(case: Case, net: Any) -> list[Any]:
    return [net.forward_rnn, net.backward_rnn] if case.bidirectional else [net]


def _hidden(carry: Any) -> Any:
    return carry[1] if isinstance(carry, tuple) else carry


def _unpack(case: Case, cell: Any) -> Cell:
    unpacked = {
        "w": cell["dense_i"]["kernel"][...],
        "u": cell["dense_h"]["kernel"][...],
        "b": cell[_BIAS.get(case.kind, "dense_i")]["bias"][...],
    }
    peepholes = ("p_i", "p_f", "p_o") if case.kind == "peephole_lstm" else ()
    return unpacked | {name: cell[name][...] for name in peepholes}


PEER = NnxPeer()
