"""jaxrnn's layer for a case: for the peer, the reference and initial weights."""

from typing import Any

import jax

import jaxrnn

from .cases import HEADS, KINDS, Case


def make_cell(kind: str, inputs: int, hidden: int) -> jaxrnn.Cell:
    """The cell of a kind of case."""
    match kind:
        case "lstm":
            return jaxrnn.LSTM(inputs, hidden)
        case "gru" | "gru_no_b_n":
            return jaxrnn.GRU(inputs, hidden)
        case "gru_reset_before":
            return jaxrnn.GRU(inputs, hidden, reset_after=False)
        case "elman":
            return jaxrnn.Elman(inputs, hidden)
        case "elman_relu":
            return jaxrnn.Elman(inputs, hidden, jax.nn.relu)
        case "peephole_lstm":
            return jaxrnn.PeepholeLSTM(inputs, hidden)
    make = getattr(jaxrnn, KINDS[kind].own)
    fields = make.__dataclass_fields__
    sizes = {"input_size": inputs, "hidden_size": hidden, "heads": HEADS}
    return make(**{name: size for name, size in sizes.items() if name in fields})


def make_layer(case: Case) -> jaxrnn.Layer:
    """The layer of a case: a cell, or a stack of cells or of bidirectional layers."""
    layers: list[jaxrnn.Layer] = []
    for i in range(case.layers):
        cell = make_cell(case.kind, case.layer_inputs(i), case.hidden)
        layers.append(jaxrnn.Bidirectional(cell) if case.bidirectional else cell)
    return layers[0] if case.layers == 1 else jaxrnn.Stack(tuple(layers))


def initial_params(case: Case) -> Any:
    """The initial parameters of the cell of a case."""
    return make_cell(case.kind, case.inputs, case.hidden).init(jax.random.key(0))


def parameter_shapes(layer: jaxrnn.Layer) -> Any:
    """The parameters of a layer, with shapes in the place of arrays."""
    return jax.eval_shape(lambda: layer.init(jax.random.key(0)))
