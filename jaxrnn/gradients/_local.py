"""Methods that treat the params of cells in a way of their own, and all others exactly."""

import abc
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._layer import Layer
from ._base import Forward, Target
from ._influence import Influence, rows_of
from ._pattern import Structure, structure_of
from ._split import Step, to_real


class LocalTrace(NamedTuple):
    """The exact influence of the params outside of cells, and the method's own trace."""

    outside: Any
    own: Any


class Local(Forward):
    """Base of the methods that approximate the influence of the cells' params.

    Params outside of the cells that reach the state, such as an embedding's, keep their
    exact influence: as many numbers as they have, times the state. Params that do not
    reach it, such as a readout's, need none.
    """

    @abc.abstractmethod
    def start_own(self, layer: Layer, params: Any, x: Any, key: Any) -> Any:
        """The method's own trace before the first step."""

    @abc.abstractmethod
    def follow_own(self, step: Step, own: Any) -> Any:
        """The method's own trace after a step."""

    @abc.abstractmethod
    def credit_own(
        self, step: Step, own: Any, target: Target, signal: Any
    ) -> dict[int, Any]:
        """The gradient through the state, as a real vector by the number of the leaf."""

    def restart_own(self, layer: Layer, params: Any, own: Any, x: Any) -> Any:
        """The method's own trace of a sequence that starts now."""
        del own
        return self.start_own(layer, params, x, None)

    def detach_own(self, own: Any) -> Any:
        """The method's own trace of a sequence that starts from a constant state."""
        return own

    def start(self, layer, params, x, key):
        own = self.start_own(layer, params, x, key)
        return LocalTrace(_outside(layer, params, x).start(params), own)

    def restart(self, layer, params, trace, x):
        own = self.restart_own(layer, params, trace.own, x)
        return LocalTrace(_outside(layer, params, x).start(params), own)

    def detach(self, trace):
        outside = jax.tree.map(jnp.zeros_like, trace.outside)
        return LocalTrace(outside, self.detach_own(trace.own))

    def follow(self, step, trace):
        exact = _outside(step.layer, step.params, step.x)
        outside = exact.follow(step, trace.outside)
        return LocalTrace(outside, self.follow_own(step, trace.own))

    def credit(self, step, trace, target, signal):
        exact = _outside(step.layer, step.params, step.x)
        found = exact.credit(signal, trace.outside, step.params)
        for leaf, vector in self.credit_own(step, trace.own, target, signal).items():
            found[leaf] = vector
        return found


def _outside(layer: Layer, params: Any, x: Any) -> Influence:
    structure = structure_of(layer, params, x)
    kept = tuple(
        None if inside else rows_of(mask, structure)
        for inside, mask in zip(structure.inside, structure.params, strict=True)
    )
    return Influence(layer, structure, kept)


def cell_leaves(structure: Structure) -> list[int]:
    """The leaves of params that belong to cells and reach the state."""
    reached = [mask.any() for mask in structure.params]
    return [i for i, inside in enumerate(structure.inside) if inside and reached[i]]


def norm(*vectors: Any) -> Any:
    """The norm of all vectors together."""
    return jnp.sqrt(sum(jnp.vdot(v, v) for v in vectors))


def balance(above: Any, below: Any) -> Any:
    """sqrt(above / below), which balances two factors; 1 where both are zero."""
    tiny = 1e-12
    return jnp.sqrt((above + tiny) / (below + tiny))


def state_size(layer: Layer, params: Any) -> int:
    """The number of real numbers in a state."""
    return len(to_real(layer.initial_state(params)))
