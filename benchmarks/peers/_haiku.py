"""dm-haiku: `hk.dynamic_unroll` of its cores, time-major, its own default.

Chosen: `dynamic_unroll`, since `static_unroll` compiles for minutes at these lengths;
both directions by `reverse=True`, as it has no bidirectional layer. Its LSTM adds 1 to
the forget gate's bias at run time, so the weights are stored with 1 less; its z gate is
the other way round, so that gate's weights are negated. A cell of one's own is an
`hk.RNNCore`.

Its GRU resets before the product, which is another function than the others', and its
vanilla RNN has ReLU where theirs have tanh: each is gated against jaxrnn's own version of
what it computes, and its row says so.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from ..cases import Case
from ..problem import Cell
from ._jax import LayeredPeer, Model, Stepper, join_gates, split_gates


class PeepholeLSTM(hk.RNNCore):
    """An LSTM with peepholes, as a user of Haiku writes it."""

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

    def version(self) -> str:
        return version("dm-haiku")

    def computes(self, case: Case) -> Case:
        case = case.of_kind(_INSTEAD.get(case.kind, case.kind))
        if case.kind not in _CORES:
            raise NotImplementedError("no such cell")
        if case.padded:
            raise NotImplementedError("no variable lengths")
        if case.dtype != "float32":
            raise NotImplementedError("its states are float32")
        return case

    def pack_layer(self, case: Case, cells: list[Cell]) -> Any:
        return [_pack(case, cell) for cell in cells]

    def unpack_layer(self, case: Case, variables: Any) -> list[Cell]:
        return [_unpack(case, variable) for variable in variables]

    def layer(self, case: Case) -> Model:
        def unroll(reverse):
            def run(xs):
                core = _CORES[case.kind](case.hidden)
                start = core.initial_state(xs.shape[1])
                return hk.dynamic_unroll(core, xs, start, reverse=reverse)

            return hk.without_apply_rng(hk.transform(run)).apply

        def layer(params, xs, lengths):
            ys, state = unroll(False)(params[0], xs)
            h = state[0] if isinstance(state, tuple) else state
            if case.bidirectional:
                backwards, _ = unroll(True)(params[1], xs)
                ys = jnp.concatenate([ys, backwards], axis=-1)
            return h, ys

        return layer

    def stepper(self, case: Case) -> Stepper:
        step = hk.transform(lambda x, state: _CORES[case.kind](case.hidden)(x, state))
        start = hk.transform(lambda: _CORES[case.kind](case.hidden).initial_state(1))

        def swapped(variables, state, x):
            y, state = hk.without_apply_rng(step).apply(variables[0][0], x, state)
            return state, y

        return Stepper(swapped, start.apply({}, None), (1, case.inputs))


def _pack(case: Case, cell: Cell) -> Any:
    w, u, b = cell["w"], cell["u"], cell["b"]
    if case.kind == "lstm":
        w_b = {"w": np.concatenate([w, u]), "b": b}
        w_b = {name: _igfo(value) for name, value in w_b.items()}
        i, g, f, o = split_gates(w_b["b"], 4)
        return {"lstm/linear": w_b | {"b": join_gates(i, g, f - 1, o)}}
    if case.kind == "peephole_lstm":
        peepholes = {name: cell[name] for name in ("p_i", "p_f", "p_o")}
        linear = {"w": np.concatenate([w, u]), "b": b}
        return {"peephole_lstm": peepholes, "peephole_lstm/linear": linear}
    if case.kind == "elman_relu":
        linear = {"w": w, "b": b}
        return {"vanilla_rnn/linear": linear, "vanilla_rnn/linear_1": {"w": u}}
    return {"gru": {"w_i": _zrn(w), "w_h": _zrn(u), "b": _zrn(b)}}


def _unpack(case: Case, params: Any) -> Cell:
    if case.kind == "gru_reset_before":
        gru = params["gru"]
        return {"w": _rzn(gru["w_i"]), "u": _rzn(gru["w_h"]), "b": _rzn(gru["b"])}
    if case.kind == "elman_relu":
        first = params["vanilla_rnn/linear"]
        u = params["vanilla_rnn/linear_1"]["w"]
        return {"w": first["w"], "u": u, "b": first["b"]}
    linear = params["lstm/linear" if case.kind == "lstm" else "peephole_lstm/linear"]
    w_u, b = linear["w"], linear["b"]
    if case.kind == "lstm":
        w_u, b = _igfo(w_u), _igfo(b)
    cell = {"w": w_u[: -case.hidden], "u": w_u[-case.hidden :], "b": b}
    return cell | dict(params.get("peephole_lstm", {}))


def _igfo(a: Any) -> Any:
    """Gates i, f, g, o in the order i, g, f, o; and the way back, which is the same."""
    i, f, g, o = split_gates(a, 4)
    return join_gates(i, g, f, o)


def _zrn(a: Any) -> Any:
    """Gates r, z, n as z, r, n with z negated."""
    first, second, n = split_gates(a, 3)
    return join_gates(-second, first, n)


def _rzn(a: Any) -> Any:
    """The way back."""
    first, second, n = split_gates(a, 3)
    return join_gates(second, -first, n)


PEER = HaikuPeer()
