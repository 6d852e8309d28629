"""jaxrnn: every strategy is a contender of its own, and `Auto()` is the reference.

Chosen: `jaxrnn.unroll` inside `jax.jit`; single steps with `layer.step`, unbatched, as a
user would stream; the optimizer step of `jaxrnn.training`, which also reports the norm of
the gradient and donates its state.
"""

from collections.abc import Callable
from typing import Any

import jax
import optax

import jaxrnn
from jaxrnn import training

from ..cases import KINDS, Case
from ..cells import make_cell, make_layer, parameter_shapes
from ..problem import Cell
from ..verify import RATE
from . import STRATEGIES
from ._jax import JaxPeer, Model, Stepper


class JaxrnnPeer(JaxPeer):
    """jaxrnn with one strategy."""

    distribution = "jaxrnn"

    def __init__(self, strategy: jaxrnn.Strategy) -> None:
        self.strategy = strategy
        self.title = f"jaxrnn {type(strategy).__name__}()"

    def computes(self, case: Case) -> Case:
        alone = case.layers == 1 and not case.bidirectional
        if alone and isinstance(self.strategy, jaxrnn.Wavefront):
            raise NotImplementedError("a single cell has no wavefront")
        if case.single_steps and not isinstance(self.strategy, jaxrnn.Auto):
            raise NotImplementedError("a step has no strategy; see jaxrnn Auto()")
        if isinstance(self.strategy, jaxrnn.Newton):
            if not KINDS[case.kind].own:
                raise NotImplementedError("a dense Jacobian is for smaller states")
            if isinstance(make_layer(case), jaxrnn.LinearCell | jaxrnn.MatrixCell):
                raise NotImplementedError("linear in its state: nothing to iterate")
        try:
            self.note(case)
        except NotImplementedError as refusal:
            reason = getattr(refusal, "reason", "not for this cell")
            raise NotImplementedError(reason) from None
        return case

    def pack(self, case: Case, cells: list[Cell]) -> Any:
        remaining = iter(cells)  # in the order in which JAX flattens the parameters
        return jax.tree.map(
            lambda params: params._replace(**next(remaining)),
            parameter_shapes(make_layer(case)),
            is_leaf=_is_cell(case),
        )

    def unpack(self, case: Case, variables: Any) -> list[Cell]:
        cells = jax.tree.leaves(variables, is_leaf=_is_cell(case))
        # A GRU that resets before its matmul has None as b_n.
        return [
            {
                name: weight
                for name, weight in cell._asdict().items()
                if weight is not None
            }
            for cell in cells
        ]

    def model(self, case: Case) -> Model:
        layer = make_layer(case)

        def model(params, xs, lengths):
            state, ys = jaxrnn.unroll(
                layer, params, xs, lengths=lengths, strategy=self.strategy
            )
            state = state if case.layers == 1 else state[-1]
            state = state.forward if case.bidirectional else state
            if KINDS[case.kind].own:  # their states have all kinds of shapes and dtypes
                return ys[-1], ys
            return getattr(state, "h", state), ys

        return model

    def stepper(self, case: Case) -> Stepper:
        layer = make_layer(case)
        start = layer.initial_state(parameter_shapes(layer))
        return Stepper(layer.step, start, (case.inputs,))

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


def _is_cell(case: Case) -> Callable[[Any], bool]:
    """Whether a node of the layer's parameters holds the parameters of one cell."""
    cell = parameter_shapes(make_cell(case.kind, case.inputs, case.hidden))
    return lambda node: isinstance(node, type(cell))


PEERS = {name: JaxrnnPeer(getattr(jaxrnn, name)()) for name in STRATEGIES}
