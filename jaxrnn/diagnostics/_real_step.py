"""The step of a layer as a function of real vectors, which the measures differentiate."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from .. import _check
from .._arrays import to_real, to_tree


class RealSteps(NamedTuple):
    """The steps of a batch over real states: `states = vmap(step)(states, xs[t])`.

    Attributes:
        step: `step(state, x)`, the state after one step of one example, both `(k,)`.
        start: `(B, k)`, the states before the first step.
        xs: the inputs, leaves `(T, B, ...)`.
    """

    step: Callable[[Any, Any], Any]
    start: Float[Array, "B k"]
    xs: Any


def checked(layer: Any, params: Any, xs: Any, state: Any) -> _check.Arguments:
    """The validated arguments, with the initial state for None.

    Raises:
        TypeError, ValueError: if an argument is invalid.
        NotImplementedError: if the layer has no state.
    """
    given = _check.arguments(layer, params, xs, state)
    if not jax.tree.leaves(given.state):
        raise NotImplementedError(
            f"{layer} has no state, so it has no dynamics to measure: give a layer with a "
            "recurrence."
        )
    return given


def real_steps(layer: Any, params: Any, xs: Any, state: Any) -> RealSteps:
    """All parts of the state as one real vector for each example; see also `checked`."""
    given = checked(layer, params, xs, state)
    like = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s.shape[1:], s.dtype), given.state
    )

    def step(vector: Any, x: Any) -> Any:
        return to_real(layer.step(given.params, to_tree(vector, like), x)[0])

    return RealSteps(step, jax.vmap(to_real)(given.state), given.xs)
