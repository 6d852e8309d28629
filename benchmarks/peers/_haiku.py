"""dm-haiku: `hk.dynamic_unroll` of its cores, time-major, which is its default.

Chosen: `dynamic_unroll`, since `static_unroll` compiles for minutes at these lengths, and
`reverse=True` for the backward direction, since it has no bidirectional layer. Its LSTM
adds 1 to the forget gate's bias at run time, so the bias is stored with 1 less. Its z is
our 1 - z, so the weights of that gate are negated. The custom cell is an `hk.RNNCore`.

Its GRU resets before the matmul and its vanilla RNN has ReLU instead of tanh, unlike the
other peers. Both are gated against jaxrnn's version of the same equation, and marked.
"""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from ..cases import Case
from ..problem import Cell
from ._jax import LayeredPeer, Model, Stepper, join_gates, reorder_gates, split_gates


class PeepholeLSTM(hk.RNNCore):
    """An LSTM with peepholes, as a user of Haiku would write it."""

    def __init__(self, size, name=None):
        super().__init__(name)
        self.size = size

    def __call__(self, x, state):
        h, c = state
        peephole = lambda name: hk.get_parameter(name, [self.size], init=jnp.zeros)
        z = hk.Linear(4 * self.size)(jnp.concatenate([x, h], axis=-1))
        i, f, g, o = jnp.split(z, 4, axis=-1)
        i = jax.nn.sigmoid(i + peephole("p_i") * c)
        f = jax.nn.sigmoid(f + peephole("p_f") * c)
        c = f * c + i * jnp.tanh(g)
        h = jax.nn.sigmoid(o + peephole("p_o") * c) * jnp.tanh(c)
        return h, (h, c)

    def initial_state(self, batch_size):
        return jnp.zeros((batch_size, self.size)), jnp.zeros((batch_size, self.size))


_CORES: dict[str, Callable[[int], Any]] = {
    "lstm": hk.LSTM,
    "gru_reset_before": hk.GRU,
    "elman_relu": lambda size: hk.VanillaRNN(size, double_bias=False),
    "peephole_lstm": PeepholeLSTM,
}
_INSTEAD = {"gru": "gru_reset_before", "elman": "elman_relu"}


class HaikuPeer(LayeredPeer):
    """dm-haiku."""

    title = "Haiku"
    distribution = "dm-haiku"

    def computes(self, case: Case) -> Case:
        case = case.of_kind(_INSTEAD.get(case.kind, case.kind))
        if case.kind not in _CORES:
            raise NotImplementedError("no such cell")
        if case.padded:
            raise NotImplementedError("no variable lengths")
        if case.dtype != "float32":
            raise NotImplementedError("its states are float32")
        return case

    def pack_cell(self, case: Case, cell: Cell) -> Any:
        w, u, b = cell["w"], cell["u"], cell["b"]
        linear = {"w": np.concatenate([w, u]), "b": b}
        match case.kind:
            case "lstm":
                linear["b"] = b - np.repeat([0, 1, 0, 0], case.hidden)
                return {"lstm/linear": {n: _igfo(value) for n, value in linear.items()}}
            case "peephole_lstm":
                peepholes = {name: cell[name] for name in ("p_i", "p_f", "p_o")}
                return {"peephole_lstm": peepholes, "peephole_lstm/linear": linear}
            case "elman_relu":
                inputs, state = {"w": w, "b": b}, {"w": u}
                return {"vanilla_rnn/linear": inputs, "vanilla_rnn/linear_1": state}
        return {"gru": {"w_i": _zrn(w), "w_h": _zrn(u), "b": _zrn(b)}}

    def unpack_cell(self, case: Case, variables: Any) -> Cell:
        if case.kind == "gru_reset_before":
            gru = variables["gru"]
            return {"w": _rzn(gru["w_i"]), "u": _rzn(gru["w_h"]), "b": _rzn(gru["b"])}
        if case.kind == "elman_relu":
            linear = variables["vanilla_rnn/linear"]
            u = variables["vanilla_rnn/linear_1"]["w"]
            return {"w": linear["w"], "u": u, "b": linear["b"]}
        if case.kind == "lstm":
            linear = {n: _igfo(value) for n, value in variables["lstm/linear"].items()}
        else:
            linear = variables["peephole_lstm/linear"]
        w, u = np.split(linear["w"], [-case.hidden])
        peepholes = dict(variables.get("peephole_lstm", {}))
        return {"w": w, "u": u, "b": linear["b"], **peepholes}

    def layer(self, case: Case) -> Model:
        def unroll(params, xs, reverse):
            def run(xs):
                core = _CORES[case.kind](case.hidden)
                start = core.initial_state(xs.shape[1])
                return hk.dynamic_unroll(core, xs, start, reverse=reverse)

            return hk.transform(run).apply(params, None, xs)

        def layer(params, xs, lengths):
            ys, state = unroll(params[0], xs, False)
            h = state[0] if isinstance(state, tuple) else state
            if case.bidirectional:
                backwards, _ = unroll(params[1], xs, True)
                ys = jnp.concatenate([ys, backwards], axis=-1)
            return h, ys

        return layer

    def stepper(self, case: Case) -> Stepper:
        step = hk.transform(lambda x, state: _CORES[case.kind](case.hidden)(x, state))
        start = hk.transform(lambda: _CORES[case.kind](case.hidden).initial_state(1))

        def swapped(variables, state, x):
            y, state = step.apply(variables[0][0], None, x, state)
            return state, y

        return Stepper(swapped, start.apply({}, None), (1, case.inputs))


def _igfo(a: Any) -> Any:
    """Gates i, f, g, o in the order i, g, f, o; it is its own inverse."""
    return reorder_gates(a, "ifgo", "igfo")


def _zrn(a: Any) -> Any:
    """Gates r, z, n in the order z, r, n, with z negated."""
    z, r, n = split_gates(reorder_gates(a, "rzn", "zrn"), 3)
    return join_gates(-z, r, n)


def _rzn(a: Any) -> Any:
    """The inverse of `_zrn`."""
    z, r, n = split_gates(a, 3)
    return join_gates(r, -z, n)


PEER = HaikuPeer()
