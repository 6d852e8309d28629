"""jaxrnn itself: every strategy a contender of its own, and `Auto()` the reference.

Chosen: `jaxrnn.unroll` inside `jax.jit`; single steps with `layer.step`, unbatched, as a
user would stream; the optimiser step of `jaxrnn.training`, which also reports the
gradient's norm and donates its state.
"""

from collections.abc import Callable
from typing import Any

import jax
import optax

import jaxrnn
from jaxrnn import training

from ..cases import HEADS, KINDS, Case
from ..problem import Cell
from ..verify import RATE
from . import STRATEGIES
from ._jax import JaxPeer, Model, Stepper


_PARAMS = {
    "lstm": jaxrnn.LSTMParams,
    "gru": jaxrnn.GRUParams,
    "gru_reset_before": jaxrnn.GRUParams,
    "gru_no_b_n": jaxrnn.GRUParams,
    "elman": jaxrnn.ElmanParams,
    "elman_relu": jaxrnn.ElmanParams,
    "peephole_lstm": jaxrnn.PeepholeLSTMParams,
}


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
    """The layer of a case: a cell, or a stack of cells or of both directions."""
    layers: list[jaxrnn.Layer] = []
    for i in range(case.layers):
        cell = make_cell(case.kind, case.layer_inputs(i), case.hidden)
        layers.append(jaxrnn.Bidirectional(cell) if case.bidirectional else cell)
    return layers[0] if case.layers == 1 else jaxrnn.Stack(tuple(layers))


class JaxrnnPeer(JaxPeer):
    """jaxrnn with one strategy."""

    def __init__(self, strategy: jaxrnn.Strategy) -> None:
        self.strategy = strategy
        self.title = f"jaxrnn {type(strategy).__name__}()"

    def version(self) -> str:
        return jaxrnn.__version__

    def computes(self, case: Case) -> Case:
        alone = case.layers == 1 and not case.bidirectional
        if alone and isinstance(self.strategy, jaxrnn.Wavefront):
            raise NotImplementedError("one cell alone has no wavefront")
        if case.single_steps and not isinstance(self.strategy, jaxrnn.Auto):
            raise NotImplementedError("a step has no strategy; see jaxrnn Auto()")
        if isinstance(self.strategy, jaxrnn.Newton):
            if not KINDS[case.kind].own:
                raise NotImplementedError("a dense Jacobian is for smaller states")
            if isinstance(make_layer(case), jaxrnn.LinearCell | jaxrnn.MatrixCell):
                raise NotImplementedError("linear in its state: nothing to iterate")
        try:
            self.note(case)
        except NotImplementedError:
            raise NotImplementedError("not for this cell") from None
        return case

    def pack(self, case: Case, cells: list[Cell]) -> Any:
        if KINDS[case.kind].own:
            cell = make_cell(case.kind, case.inputs, case.hidden)
            params = jax.eval_shape(lambda: cell.init(jax.random.key(0)))
            return type(params)(**cells[0])
        make = _PARAMS[case.kind]
        params = [make(**({"b_n": None} if _no_b_n(case) else {}), **c) for c in cells]
        if case.bidirectional:
            pairs = zip(params[::2], params[1::2], strict=True)
            params = [jaxrnn.BothWays(*pair) for pair in pairs]
        return params[0] if case.layers == 1 else tuple(params)

    def unpack(self, case: Case, variables: Any) -> list[Cell]:
        layers = [variables] if case.layers == 1 else list(variables)
        if case.bidirectional:
            layers = [cell for layer in layers for cell in layer]
        cells = [cell._asdict() for cell in layers]
        return [{n: v for n, v in cell.items() if v is not None} for cell in cells]

    def model(self, case: Case) -> Model:
        layer = make_layer(case)

        def model(params, xs, lengths):
            state, ys = jaxrnn.unroll(
                layer, params, xs, lengths=lengths, strategy=self.strategy
            )
            state = state if case.layers == 1 else state[-1]
            state = state.forward if case.bidirectional else state
            if KINDS[case.kind].own:  # of shapes and dtypes of all kinds
                return ys[-1], ys
            return getattr(state, "h", state), ys

        return model

    def stepper(self, case: Case) -> Stepper:
        layer = make_layer(case)
        params = jax.eval_shape(lambda: layer.init(jax.random.key(0)))
        return Stepper(layer.step, layer.initial_state(params), (case.inputs,))

    def train_step(self, loss: Callable, variables: Any) -> tuple[Callable, Any]:
        optimizer = optax.adam(RATE)
        step = training.make_train_step(
            lambda params, *batch: (loss(params, *batch), None), optimizer
        )
        return step, training.train_state(variables, optimizer)

    def trained(self, state: Any) -> Any:
        return state.params

    def note(self, case: Case) -> str:
        if case.single_steps:
            return ""
        explained = jaxrnn.explain(
            make_layer(case),
            (case.time, case.batch, case.inputs),
            case.dtype,
            strategy=self.strategy,
        )
        chosen = {str(d.choice.strategy) for d in explained.decisions}
        return "" if chosen == {str(self.strategy)} else f"runs {', '.join(chosen)}"


def _no_b_n(case: Case) -> bool:
    return case.kind == "gru_reset_before"


PEERS = {name: JaxrnnPeer(getattr(jaxrnn, name)()) for name in STRATEGIES}
