"""The protocol: `Layer`, `Cell`, `LinearCell` and `MatrixCell`.

A layer is a frozen dataclass of sizes with pure methods over an explicit params pytree.
It is a compile-time constant: hashable, comparable, and an ordinary argument of `jax.jit`.

A cell has three parts and sees neither time nor batch:

    z      = project(params, x)            parallel in time: input matmuls, biases
    state' = recur(params, state, z)       the only sequential part
    y      = readout(params, state', z)    parallel in time

A strategy owns time and batch, and decides how `recur` runs.
"""

import abc
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Generic, NamedTuple, final

import jax
import jax.nn
import jax.numpy
import numpy as np
from jaxtyping import Array, Bool, Key

from ._sharding import one_device
from ._typing import Mask, Params, State


class Static:
    """A compile-time constant: passes through `jax.jit` as a pytree without leaves."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # jit then compares and hashes the object itself: equal layers share one program
        jax.tree_util.register_static(cls)

    # Pickle looks a function up by the module that defines it. For functions of JAX such as
    # `jnp.tanh`, that module binds the name to another object, so pickling fails. They are
    # stored by their public name instead.
    def __getstate__(self) -> Any:
        state = super().__getstate__()
        if not isinstance(state, dict):
            return state
        return {name: _public(value) for name, value in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            found = value.find() if isinstance(value, _Public) else value
            object.__setattr__(self, name, found)

    def __str__(self) -> str:
        """The constructor call, without fields that equal their default."""
        if not dataclasses.is_dataclass(self):
            return repr(self)
        given = [
            f"{f.name}={_shown(v)}"
            for f in dataclasses.fields(self)
            if (v := getattr(self, f.name)) != _default(f)
        ]
        return f"{type(self).__name__}({', '.join(given)})"


class _Public(NamedTuple):
    """The public name of a function of JAX, pickled in place of the function."""

    module: str
    name: str

    def find(self) -> Any:
        return getattr(sys.modules[self.module], self.name)


def _public(value: Any) -> Any:
    name = getattr(value, "__name__", "")
    for module in (jax.numpy, jax.nn, jax.lax) if callable(value) and name else ():
        if getattr(module, name, None) is value:
            return _Public(module.__name__, name)
    return value


def _shown(value: Any) -> str:
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        comma = "," if len(value) == 1 else ""
        return f"({', '.join(map(_shown, value))}{comma})"
    return getattr(value, "__name__", None) or str(value)


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


class Executor(abc.ABC):
    """The interface of strategies that layers use: it runs cells over sequences."""

    @abc.abstractmethod
    def __call__(
        self, cell: "Cell", params: Any, state: Any, xs: Any, context: "Context"
    ) -> tuple[Any, Any]:
        """`(state, ys)` of one cell; `state` has leaves `(B, ...)`, `xs` `(T, B, ...)`."""

    def joined(self, layers: Sequence["Layer"]) -> int:
        """The number of layers, from the first on, that run together in one loop."""
        del layers
        return 1

    def unroll_stack(
        self, cell: "Cell", params: Any, states: Any, xs: Any, context: "Context"
    ) -> tuple[tuple[Any, ...], Any]:
        """`(states, ys)` of a stack of equal cells; called if `joined` is above 1."""
        raise NotImplementedError(f"{self} runs each layer of a stack separately")

    def unroll_side_by_side(
        self, cell: "Cell", params: Any, states: Any, xs: Any, contexts: Any
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """`(states, ys)` of equal cells, each with its own state, inputs and context."""
        raise NotImplementedError(f"{self} runs each direction separately")


class Context(NamedTuple):
    """The options of one call of `unroll`, passed from layer to layer.

    Attributes:
        strategy: the strategy that runs each recurrence.
        valid: `(T, B)` booleans, False at padding and at masked steps; None if all steps
            are valid.
        cuts: `(T + 1, B)` booleans for the boundaries between steps: True at t if no state
            passes between steps t - 1 and t; None if there are no resets.
        key: the random key of dropout-like layers; None makes them deterministic.
    """

    strategy: Executor
    valid: Mask | None = None
    cuts: Bool[Array, "T+1 B"] | None = None
    key: Key[Array, ""] | None = None

    @property
    def resets(self) -> Mask | None:
        """`(T, B)` booleans, True where a step starts from the initial state."""
        return None if self.cuts is None else self.cuts[:-1]

    def flipped(self) -> "Context":
        """The same call with time running backwards."""
        flip = lambda mask: None if mask is None else mask[::-1]
        return self._replace(valid=flip(self.valid), cuts=flip(self.cuts))


class Layer(Static, abc.ABC, Generic[Params, State]):
    """A map from sequences to sequences with an explicit state; `unroll` runs it.

    Subclasses are frozen dataclasses. `step` takes one example and one time step.
    `unroll` takes `(T, B, ...)` and must equal repeated calls of `step`; `jaxrnn.unroll`
    validates the arguments before it calls it.
    """

    @abc.abstractmethod
    def init(self, key: Key[Array, ""]) -> Params:
        """Fresh parameters, in JAX's default float dtype."""

    @abc.abstractmethod
    def initial_state(self, params: Params) -> State:
        """The state before the first step, for one example."""

    def reset_state(self, params: Params, state: State) -> State:
        """The state after a reset, for one example; `state` is the one before it.

        It is the initial state, except for parts that no step changes, such as the memory
        of an attention layer: they stay. A cell always restarts from its initial state.
        """
        del state
        return self.initial_state(params)

    @abc.abstractmethod
    def step(self, params: Params, state: State, x: Any) -> tuple[State, Any]:
        """One example, one time step: `(state, y)`. Deterministic; for streaming."""

    @abc.abstractmethod
    def unroll(
        self, params: Params, state: State, xs: Any, context: Context
    ) -> tuple[State, Any]:
        """`(state, ys)` for all of `xs`, `(T, B, ...)`, from `state`, leaves `(B, ...)`."""


class Cell(Layer[Params, State]):
    """One recurrence in three parts: `project`, `recur`, `readout`.

    A subclass must define `recur`; `project` and `readout` default to the identity on the
    input and on the state. `step` and `unroll` are final.
    """

    def project(self, params: Params, x: Any) -> Any:
        """The part of a step that needs only the input; it runs for all steps at once."""
        del params
        return x

    @abc.abstractmethod
    def recur(self, params: Params, state: State, z: Any) -> State:
        """The next state: the only sequential part."""

    def readout(self, params: Params, state: State, z: Any) -> Any:
        """The output of a step, from the state after it."""
        del params, z
        return state

    @final
    def step(self, params: Params, state: State, x: Any) -> tuple[State, Any]:
        params, state, x = jax.tree.map(_jax_array, (params, state, x))
        if (instead := _step_instead.get()) is not None:
            return instead(self, params, state, x)
        z = self.project(params, x)
        state = self.recur(params, state, z)
        return state, self.readout(params, state, z)

    @final
    def unroll(
        self, params: Params, state: State, xs: Any, context: Context
    ) -> tuple[State, Any]:
        return context.strategy(self, params, state, xs, context)


_step_instead: ContextVar[Callable[..., tuple[Any, Any]] | None]
_step_instead = ContextVar("step_instead", default=None)


@contextlib.contextmanager
def stepping_by(
    function: Callable[["Cell", Any, Any, Any], tuple[Any, Any]],
) -> Iterator[None]:
    """Within the context, `function(cell, params, state, x)` takes the step of every cell.

    A gradient method sees the cells inside a layer in this way, whatever the layer does
    around them.
    """
    token = _step_instead.set(function)
    try:
        yield
    finally:
        _step_instead.reset(token)


class LinearCell(Cell[Params, State]):
    """A recurrence that is linear and element-wise in its state: `state' = a * state + b`.

    `coefficients` returns `a` and `b`, real or complex, as pytrees like the state. `recur`
    is final. Because the recurrence is linear, a strategy can run the steps in parallel.
    """

    @abc.abstractmethod
    def coefficients(self, params: Params, z: Any) -> tuple[State, State]:
        """`(a, b)` of one step."""

    @final
    def recur(self, params: Params, state: State, z: Any) -> State:
        a, b = self.coefficients(params, z)
        return jax.tree.map(lambda a, b, s: a * s + b, a, b, state)


class StepMask(NamedTuple):
    """The masks of one chunk of steps, for one sequence.

    Attributes:
        valid: `(C,)` booleans, False at steps that keep the state; None if all are valid.
        reset: `(C,)` booleans, True at steps that start from `initial`; None if none do.
        initial: the state that a reset restores; None if there are no resets.
    """

    valid: Bool[Array, "C"] | None = None
    reset: Bool[Array, "C"] | None = None
    initial: Any = None


class MatrixCell(Cell[Params, State]):
    """A recurrence whose state is a matrix: linear attention, delta rules.

    `chunk` computes many steps at once with matmuls, without storing the state of each. It
    must equal `recur` and `readout`, applied step by step.
    """

    @abc.abstractmethod
    def chunk(
        self, params: Params, state: State, zs: Any, step_mask: StepMask
    ) -> tuple[State, Any]:
        """`(state, ys)` after the steps `zs`, leaves `(C, ...)`.

        Outputs at steps that are not valid may have any finite value.
        """


def _jax_array(x: Any) -> Any:
    """NumPy arrays converted to JAX arrays, which the code of cells expects."""
    return jax.numpy.asarray(x) if isinstance(x, np.ndarray | np.generic) else x


def over_time_and_batch(fn: Callable, params: Any, *sequences: Any) -> Any:
    """Applies `fn(params, ...)`, written for one example and step, over time and batch."""
    if one_device():
        return _over_merged_axes(fn, params, *sequences)
    over_time = jax.vmap(fn, in_axes=(None, *(0 for _ in sequences)))
    return jax.vmap(over_time, in_axes=(None, *(0 for _ in sequences)))(
        params, *sequences
    )


def _over_merged_axes(fn: Callable, params: Any, *sequences: Any) -> Any:
    """The same with time and batch merged, so that each matmul is one 2-D GEMM.

    XLA:CPU differentiates this form up to 1.2 times as fast. It does not suit a sharded
    batch, which would have to be gathered before it is merged with time.
    """
    time, batch = jax.tree.leaves(sequences)[0].shape[:2]
    merged = jax.tree.map(
        lambda s: s.reshape(time * batch, *s.shape[2:]), list(sequences)
    )
    ys = jax.vmap(partial(fn, params))(*merged)
    return jax.tree.map(lambda y: y.reshape(time, batch, *y.shape[1:]), ys)
