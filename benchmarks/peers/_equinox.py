"""Equinox: its cells under `jax.lax.scan`, and `jax.vmap` over the batch.

Chosen: `vmap` of `scan`, as in its documentation, with the time axis first, as `scan`
needs it; `jax.jit` instead of `eqx.filter_jit`, since these modules hold only arrays and
are plain pytrees. The custom cell is an `eqx.Module`. Equinox has neither a vanilla cell
nor variable lengths.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ..cases import Case
from ..problem import Cell
from ._jax import LayeredPeer, Model, Stepper


class PeepholeLSTMCell(eqx.Module):
    """An LSTM with peepholes, as a user of Equinox would write it."""

    weight_ih: jax.Array
    weight_hh: jax.Array
    bias: jax.Array
    p_i: jax.Array
    p_f: jax.Array
    p_o: jax.Array

    def __call__(self, x, state):
        h, c = state
        z = self.weight_ih @ x + self.weight_hh @ h + self.bias
        i, f, g, o = jnp.split(z, 4)
        i, f = jax.nn.sigmoid(i + self.p_i * c), jax.nn.sigmoid(f + self.p_f * c)
        c = f * c + i * jnp.tanh(g)
        return jax.nn.sigmoid(o + self.p_o * c) * jnp.tanh(c), c


_CELLS = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}


class EquinoxPeer(LayeredPeer):
    """Equinox."""

    title = "Equinox"
    distribution = "equinox"

    def computes(self, case: Case) -> Case:
        if case.kind not in (*_CELLS, "peephole_lstm"):
            raise NotImplementedError("no such cell")
        if case.padded:
            raise NotImplementedError("no variable lengths")
        return case

    def pack_cell(self, case: Case, cell: Cell) -> Any:
        weights = (cell["w"].T, cell["u"].T, cell["b"])
        if case.kind == "peephole_lstm":
            return PeepholeLSTMCell(*weights, cell["p_i"], cell["p_f"], cell["p_o"])
        module = eqx.filter_eval_shape(
            _CELLS[case.kind], cell["w"].shape[0], case.hidden, key=jax.random.key(0)
        )
        where = lambda m: (m.weight_ih, m.weight_hh, m.bias)
        module = eqx.tree_at(where, module, weights)
        if case.kind == "gru":
            module = eqx.tree_at(lambda m: m.bias_n, module, cell["b_n"])
        return module

    def unpack_cell(self, case: Case, module: Any) -> Cell:
        cell = {"w": module.weight_ih.T, "u": module.weight_hh.T, "b": module.bias}
        if case.kind == "gru":
            cell["b_n"] = module.bias_n
        if case.kind == "peephole_lstm":
            cell |= {"p_i": module.p_i, "p_f": module.p_f, "p_o": module.p_o}
        return cell

    def layer(self, case: Case) -> Model:
        def unroll(cell, xs, reverse):
            def body(state, x):
                state = cell(x, state)
                return state, state[0] if isinstance(state, tuple) else state

            def one(xs):
                return jax.lax.scan(body, _start(case), xs, reverse=reverse)

            return jax.vmap(one, in_axes=1, out_axes=(0, 1))(xs)

        def layer(cells, xs, lengths):
            state, ys = unroll(cells[0], xs, False)
            if case.bidirectional:
                _, backwards = unroll(cells[1], xs, True)
                ys = jnp.concatenate([ys, backwards], axis=-1)
            return state[0] if isinstance(state, tuple) else state, ys

        return layer

    def stepper(self, case: Case) -> Stepper:
        def step(variables, state, x):
            state = variables[0][0](x, state)
            return state, state[0] if isinstance(state, tuple) else state

        return Stepper(step, _start(case), (case.inputs,))


def _start(case: Case) -> Any:
    zeros = jnp.zeros(case.hidden, case.dtype)
    return zeros if case.kind == "gru" else (zeros, zeros)


PEER = EquinoxPeer()
