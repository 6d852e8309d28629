"""Local learning rules: e-prop and RFLO."""

import abc
import dataclasses
import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._layer import Static
from ._influence import Influence, RealStep, entries_of
from ._local import Local, cell_leaves
from ._pattern import Structure, probe, structure_of
from ._split import Step, blocked, nudged, output, to_real, to_tree


class Feedback(Static, abc.ABC):
    """How the error of a step reaches the units: the learning signal."""

    def start(self, size: int, outputs: int) -> Any:
        """What the trace keeps: a matrix `(size, outputs)`, or nothing."""
        return ()


@dataclass(frozen=True)
class Symmetric(Feedback):
    """The learning signal is dL_t / d state_t, through the weights themselves.

    Through the layers above, it is backpropagated within the step.
    """


@dataclass(frozen=True)
class RandomFeedback(Feedback):
    """The learning signal is B dL_t / dy_t, with a fixed B from N(0, 1 / outputs).

    B has a row for each number of the state, whatever the width of the output.

    Args:
        seed: the seed of B.

    Reference: Lillicrap et al. 2016, doi:10.1038/ncomms13276.
    """

    seed: int = 0

    def start(self, size: int, outputs: int) -> Any:
        key = jax.random.key(self.seed)
        return jax.random.normal(key, (size, outputs)) / np.sqrt(outputs)


@dataclass(frozen=True)
class GivenFeedback(Feedback):
    """The learning signal is B dL_t / dy_t, with a given B.

    Args:
        matrix: `(k, outputs)`, a row for each number of the state.
    """

    matrix: Any

    def __post_init__(self):
        rows = tuple(map(tuple, np.asarray(self.matrix).tolist()))
        object.__setattr__(self, "matrix", rows)  # hashable, unlike an array

    def start(self, size: int, outputs: int) -> Any:
        found = np.shape(self.matrix)
        if found != (size, outputs):
            raise ValueError(
                f"GivenFeedback has the shape {found}, where ({size}, {outputs}) is needed: "
                "a row for each number of the state, a column for each output."
            )
        return jnp.asarray(self.matrix)


class EPropTrace(NamedTuple):
    """The eligibility traces, and the feedback matrix if there is one."""

    eligibility: Any
    feedback: Any


@dataclass(frozen=True)
class EProp(Local):
    """E-prop: eligibility traces that stay within a unit, times a learning signal.

        e_t = D_t e_{t-1} + I_t,    dL_t / d params = signal_t e_t

    D is the part of the step's Jacobian J that passes through no matmul with a parameter:
    the forget gate of an `LSTM`, the update gate of a `GRU`, the leak of a `CTRNN`. So a
    trace belongs to one synapse. The gradient is biased: what a unit does to others, and
    these to it, is left out.

    Costs: a trace for each parameter and part of the state (h and c of an LSTM), as many
    multiplications a step, and one backward pass of a step.

    Args:
        feedback: the learning signal: `Symmetric()`, `RandomFeedback()` or
            `GivenFeedback(matrix)`.

    Reference: Bellec et al. 2020, doi:10.1038/s41467-020-17236-y.
    """

    feedback: Feedback = Symmetric()

    def start_own(self, layer, params, x, key):
        influence = self._influence(layer, params, x)
        state = layer.initial_state(params)
        y = jax.eval_shape(lambda: to_real(output(layer, params, state, x)))
        matrix = self.feedback.start(len(to_real(state)), y.size)
        return EPropTrace(influence.start(params), matrix)

    def restart_own(self, layer, params, own, x):
        fresh = self._influence(layer, params, x).start(params)
        return own._replace(eligibility=fresh)

    def detach_own(self, own):
        zeros = jax.tree.map(jnp.zeros_like, own.eligibility)
        return own._replace(eligibility=zeros)

    def follow_own(self, step, own):
        influence = self._influence(step.layer, step.params, step.x)
        return own._replace(eligibility=influence.follow(step, own.eligibility))

    def credit_own(self, step, own, target, signal):
        influence = self._influence(step.layer, step.params, step.x)
        learning = self._signal(step, own, target, influence.structure)
        found = influence.credit(learning, own.eligibility, step.params)
        return {i: found[i] for i in cell_leaves(influence.structure)}

    def _influence(self, layer: Any, params: Any, x: Any) -> Influence:
        whole = structure_of(layer, params, x)
        return _within_units(layer, whole, structure_of(layer, params, x, blocked))

    def _signal(self, step: Step, own: EPropTrace, target: Any, structure: Any) -> Any:
        nudge = jnp.zeros_like(to_real(step.new))
        of_nudge = lambda nudge: nudged(step, structure.sites, nudge)
        if isinstance(self.feedback, Symmetric):
            return jax.grad(lambda nudge: target(of_nudge(nudge)))(nudge)
        y = of_nudge(nudge)
        error = jax.grad(lambda flat: target(to_tree(flat, y)))(to_real(y))
        return jnp.where(structure.visible, own.feedback.astype(error.dtype) @ error, 0)


@functools.lru_cache(maxsize=64)
def _within_units(layer: Any, whole: Structure, keeping: Structure) -> Influence:
    """The traces of the cells' params, in their own cell, along `keeping`'s Jacobian."""
    local = dataclasses.replace(whole, state=keeping.state & whole.within_cells())
    kept = []
    for i, (inside, mask) in enumerate(zip(whole.inside, whole.params, strict=True)):
        home = whole.sites.index(whole.site_of(i)) if inside else -1
        at_home = mask & (whole.owner == home)[:, None]
        kept.append(entries_of(local.closed(at_home)))
    return Influence(layer, local, tuple(kept), blocked)


@dataclass(frozen=True)
class RFLO(EProp):
    """Random feedback local online learning: e-prop for rate networks with a constant leak.

        e_t = (1 - 1/tau) e_{t-1} + I_t,    dL_t / d params = (B error_t) e_t

    It serves cells whose units keep a constant part of their own value, as `CTRNN` does for
    evenly spaced samples, and those that keep nothing, as `Elman`.

    Args:
        feedback: the learning signal; `RandomFeedback()` in the paper.

    Reference: Murray 2019, doi:10.7554/eLife.43299.
    """

    feedback: Feedback = RandomFeedback()

    def _influence(self, layer, params, x):
        found = super()._influence(layer, params, x)
        if not _constant_leak(layer, params, x):
            raise NotImplementedError(
                f"RFLO is for units with a constant leak, such as jaxrnn.CTRNN's, and the "
                f"leak in {layer} depends on the state or the input. EProp() is the same "
                "rule for gated units."
            )
        return found


def _constant_leak(layer: Any, params: Any, x: Any) -> bool:
    """Whether the blocked Jacobian is the same diagonal for several states and inputs."""
    with jax.ensure_compile_time_eval():
        known, *others = (probe(layer, params, x, jax.random.key(i)) for i in range(3))
        leaks = [
            RealStep(Step(layer, known[0], state, x, state), blocked)
            for _, state, x in (known, *others)
        ]
        jacobians = [np.asarray(leak.by_state(np.eye(leak.size))) for leak in leaks]
    first = jacobians[0]
    diagonal = not np.any(first - np.diag(np.diag(first)))
    return diagonal and all(np.allclose(j, first, atol=1e-5) for j in jacobians)
