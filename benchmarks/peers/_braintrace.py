"""braintrace: online gradients of a GRU that is written with its operators.

Its own `nn.GRUCell` resets before the matmul. Version 0.2.6 excludes the reset gate's weights
from every trace there ("reaches a hidden state only through another trainable ETP
primitive"), so none of its methods is exact for it. The GRU below resets after the matmul, as
jaxrnn's does by default. A sequence is driven by `etrace_grad`, as its documentation does it.
`UORO` takes windows of two steps, the fewest that it has.
"""

import warnings
from collections.abc import Callable
from typing import Any

import brainstate
import braintrace
import jax
import jax.numpy as jnp
import numpy as np


_METHODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "D_RTRL": (braintrace.D_RTRL, {}),
    "EProp": (braintrace.EProp, {}),
    "SnAp(1)": (braintrace.SnAp, {"n": 1}),
    "SnAp(2)": (braintrace.SnAp, {"n": 2}),
    "UORO": (braintrace.UORO, {}),
}
_GATES = "rzn"


class GRU(brainstate.nn.Module):
    """A GRU with jaxrnn's params."""

    def __init__(self, params: Any) -> None:
        super().__init__()
        w, u, b = (np.split(np.asarray(v), 3, axis=-1) for v in params[:3])
        inputs, self.units = w[0].shape
        for i, gate in enumerate(_GATES):
            last = gate == "n"
            read = braintrace.nn.Linear(inputs, self.units)
            mix = braintrace.nn.Linear(
                self.units, self.units, **({} if last else {"b_init": None})
            )
            read.weight.value = {"weight": jnp.asarray(w[i]), "bias": jnp.asarray(b[i])}
            bias = {"bias": jnp.asarray(params.b_n)} if last else {}
            mix.weight.value = {"weight": jnp.asarray(u[i]), **bias}
            setattr(self, f"w{gate}", read)
            setattr(self, f"u{gate}", mix)

    def init_state(self, batch_size: int | None = None, **options: Any) -> None:
        """A state of zeros."""
        self.h = brainstate.HiddenState(jnp.zeros((batch_size or 1, self.units)))

    def update(self, x: Any) -> Any:
        """One step."""
        h = self.h.value
        r = jax.nn.sigmoid(self.wr(x) + self.ur(h))
        z = jax.nn.sigmoid(self.wz(x) + self.uz(h))
        n = jnp.tanh(self.wn(x) + r * self.un(h))
        self.h.value = (1 - z) * n + z * h
        return self.h.value


def compile(name: str, given: Any) -> tuple[Callable[[], Any], dict[str, int]]:
    """`run()`, the mean loss and its gradient like the params; and the memory."""
    params, xs, targets = given
    method, options = _METHODS[name]
    windows = method is braintrace.UORO
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the pattern of SnAp(2) is full
        example = braintrace.MultiStepData(xs[:2]) if windows else xs[0]
        learner: Any = braintrace.compile(
            GRU(params), method, example, batch_size=1, **options
        )

    def loss(x: Any, target: Any) -> Any:
        if windows:
            ys = learner(braintrace.MultiStepData(x))
            return jnp.sum(jnp.square(ys - target), axis=(1, 2))
        return jnp.sum(jnp.square(learner(x) - target))

    def whole(xs: Any, targets: Any) -> Any:
        grads, value = learner.etrace_grad(
            xs, targets, step_fn=loss, loss_output="scalar", return_value=True,
            **({"chunk_size": 2} if windows else {}),
        )  # fmt: skip
        return value, _like(params, grads)

    trace = sum(
        leaf.size * leaf.dtype.itemsize
        for path, state in learner.states().items()
        if isinstance(state, braintrace.EligibilityTrace)
        or str(path[0]).startswith("etrace_")  # the two factors of UORO
        for leaf in jax.tree.leaves(state.value)
    )
    pure = brainstate.transform.StatefulFunction(whole)
    pure.make_jaxpr(xs, targets)
    states = [state.value for state in pure.get_states(xs, targets)]
    call = lambda states, *args: pure.jaxpr_call(states, *args)[1]
    compiled = jax.jit(call).lower(states, xs, targets).compile()
    memory_of: Any = compiled.memory_analysis()
    temporary = memory_of.temp_size_in_bytes
    memory = {"temporary_bytes": temporary, "trace_bytes": trace}
    return lambda: compiled(states, xs, targets), memory


def _like(params: Any, grads: Any) -> Any:
    """Gradients like jaxrnn's params."""
    by_layer = {path[0]: grad for path, grad in grads.items()}
    joined = lambda kind, name: jnp.concatenate(
        [by_layer[f"{kind}{gate}"][name] for gate in _GATES], axis=-1
    )
    b_n = by_layer["un"]["bias"]
    made = joined("w", "weight"), joined("u", "weight"), joined("w", "bias"), b_n
    return type(params)(*made)
