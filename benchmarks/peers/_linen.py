"""flax.linen: `nn.RNN`, and `nn.Bidirectional` of two.

Chosen: `OptimizedLSTMCell`, the faster of its two LSTMs with the same parameters;
`GRUCell`, which resets after the matmul; `SimpleCell`. Time-major, with the carry
returned; `seq_lengths` for variable lengths, which does not mask the outputs in the
padding. The custom cell is an `nn.RNNCellBase`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ..cases import Case
from ..problem import Cell
from ._jax import LayeredPeer, Model, Stepper, join_gates, split_gates


class PeepholeLSTMCell(nn.RNNCellBase):
    """An LSTM with peepholes, as a user of linen would write it."""

    features: int

    @nn.compact
    def __call__(self, carry, x):
        c, h = carry
        peephole = lambda name: self.param(
            name, nn.initializers.zeros, (self.features,)
        )
        z = nn.Dense(4 * self.features, name="x")(x)
        z += nn.Dense(4 * self.features, use_bias=False, name="h")(h)
        i, f, g, o = jnp.split(z, 4, axis=-1)
        i = nn.sigmoid(i + peephole("p_i") * c)
        f = nn.sigmoid(f + peephole("p_f") * c)
        c = f * c + i * nn.tanh(g)
        h = nn.sigmoid(o + peephole("p_o") * c) * nn.tanh(c)
        return (c, h), h

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        zeros = jnp.zeros((*input_shape[:-1], self.features))
        return zeros, zeros

    @property
    def num_feature_axes(self):
        return 1


_CELLS: dict[str, Any] = {
    "lstm": nn.OptimizedLSTMCell,
    "gru": nn.GRUCell,
    "elman": nn.SimpleCell,
    "peephole_lstm": PeepholeLSTMCell,
}


class LinenPeer(LayeredPeer):
    """flax.linen."""

    title = "flax.linen"
    distribution = "flax"

    def computes(self, case: Case) -> Case:
        if case.kind not in _CELLS:
            raise NotImplementedError("no such cell")
        return case

    def pack_layer(self, case: Case, cells: list[Cell]) -> Any:
        packed = [{"cell": _pack(case, cell)} for cell in cells]
        if case.bidirectional:
            return {"forward_rnn": packed[0], "backward_rnn": packed[1]}
        return packed[0]

    def unpack_layer(self, case: Case, variables: Any) -> list[Cell]:
        layers = [variables]
        if case.bidirectional:
            layers = [variables["forward_rnn"], variables["backward_rnn"]]
        return [_unpack(case, layer["cell"]) for layer in layers]

    def layer(self, case: Case) -> Model:
        def rnn() -> Any:
            return nn.RNN(_cell(case), time_major=True, return_carry=True)

        net = rnn()
        if case.bidirectional:
            net = nn.Bidirectional(rnn(), rnn(), time_major=True, return_carry=True)

        def layer(params, xs, lengths):
            carry, ys = net.apply({"params": params}, xs, seq_lengths=lengths)
            return _hidden(carry[0] if case.bidirectional else carry), ys

        return layer

    def stepper(self, case: Case) -> Stepper:
        cell = _cell(case)
        shape = (1, case.inputs)

        def step(variables, state, x):
            return cell.apply({"params": variables[0]["cell"]}, state, x)

        return Stepper(step, cell.initialize_carry(jax.random.key(0), shape), shape)


def _cell(case: Case) -> Any:
    return _CELLS[case.kind](case.hidden, **_dtypes(case))


def _dtypes(case: Case) -> dict[str, Any]:
    if case.dtype == "float32":
        return {}
    # flax traces its initial weights at every call, and JAX has no QR in bfloat16
    zeros = {"recurrent_kernel_init": nn.initializers.zeros_init()}
    dtypes = dict.fromkeys(("dtype", "param_dtype"), jnp.dtype(case.dtype))
    return {**zeros, **dtypes}


def _hidden(carry: Any) -> Any:
    return carry[1] if isinstance(carry, tuple) else carry


def _pack(case: Case, cell: Cell) -> Any:
    inputs, state = {"kernel": cell["w"], "bias": cell["b"]}, {"kernel": cell["u"]}
    if case.kind == "peephole_lstm":
        peepholes = {name: cell[name] for name in ("p_i", "p_f", "p_o")}
        return peepholes | {"x": inputs, "h": state}
    if case.kind == "elman":
        return {"i": inputs, "h": state}
    gates = "ifgo" if case.kind == "lstm" else "rzn"
    w, u, b = (split_gates(cell[name], len(gates)) for name in ("w", "u", "b"))
    params: dict[str, Any] = {}
    for gate, w_gate, u_gate, b_gate in zip(gates, w, u, b, strict=True):
        params[f"i{gate}"], params[f"h{gate}"] = {"kernel": w_gate}, {"kernel": u_gate}
        params[f"{'h' if case.kind == 'lstm' else 'i'}{gate}"]["bias"] = b_gate
    if case.kind == "gru":
        params["hn"]["bias"] = cell["b_n"]
    return params


def _unpack(case: Case, params: Any) -> Cell:
    if case.kind in ("peephole_lstm", "elman"):
        inputs, state = params["i" if case.kind == "elman" else "x"], params["h"]
        peepholes = {name: params[name] for name in params if name.startswith("p_")}
        weights = {"w": inputs["kernel"], "u": state["kernel"], "b": inputs["bias"]}
        return weights | peepholes
    gates = "ifgo" if case.kind == "lstm" else "rzn"
    bias = "h" if case.kind == "lstm" else "i"
    cell = {
        "w": join_gates(*(params[f"i{gate}"]["kernel"] for gate in gates)),
        "u": join_gates(*(params[f"h{gate}"]["kernel"] for gate in gates)),
        "b": join_gates(*(params[f"{bias}{gate}"]["bias"] for gate in gates)),
    }
    return cell | ({"b_n": params["hn"]["bias"]} if case.kind == "gru" else {})


PEER = LinenPeer()
