"""The common part of the peers on JAX: `jax.jit`, `jax.value_and_grad`, `optax.adam`.

Functions are compiled ahead of time, so that compiling can be timed. The optimizer step
donates weights and optimizer state, as training loops do, so it has copies of its own.
Every peer uses optax, Keras too, since the recurrences are compared and not the optimizers.
"""

import abc
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..cases import Case
from ..problem import Array, Cell, Problem
from ..verify import RATE, Answer
from ._base import Peer, Program


Model = Callable[[Any, Any, Any], tuple[Any, Any]]
"""`model(variables, xs, lengths) -> (h, ys)`; h is the last state of the top layer."""

Step = Callable[[Any, Any, Any], tuple[Any, Any]]
"""`step(variables, state, x) -> (state, y)`, for one sequence."""


class Stepper(NamedTuple):
    """A single step: its function, the first state, and the shape of an input."""

    step: Step
    state: Any
    shape: tuple[int, ...]


class JaxPeer(Peer):
    """A peer on JAX: its weights, its model and its single step.

    Attributes:
        batch_first: whether the peer takes `(B, T, features)`. Inputs are transposed before
            anything is timed, since its users' data would have that layout.
    """

    batch_first = False

    @abc.abstractmethod
    def pack(self, case: Case, cells: list[Cell]) -> Any:
        """The peer's variables, as NumPy arrays."""

    @abc.abstractmethod
    def unpack(self, case: Case, variables: Any) -> list[Cell]:
        """The inverse of `pack`, also for gradients: constants that it adds may stay."""

    @abc.abstractmethod
    def model(self, case: Case) -> Model:
        """The model of a case."""

    @abc.abstractmethod
    def stepper(self, case: Case) -> Stepper:
        """The single step of a case of one cell."""

    def train_step(self, loss: Callable, variables: Any) -> tuple[Callable, Any]:
        """`(step, state)`, with `step(state, xs, cotangents, lengths) -> (state, report)`."""
        optimizer = optax.adam(RATE)

        def step(state, *batch):
            variables, opt_state = state
            value, gradients = jax.value_and_grad(loss)(variables, *batch)
            updates, opt_state = optimizer.update(gradients, opt_state, variables)
            return (optax.apply_updates(variables, updates), opt_state), value

        return jax.jit(step, donate_argnums=0), (variables, optimizer.init(variables))

    def trained(self, state: Any) -> Any:
        """The variables in the state of `train_step`."""
        return state[0]

    def note(self, case: Case) -> str:
        """A remark for readers about a case."""
        return ""

    def build(self, case: Case, problem: Problem) -> "JaxProgram":
        return JaxProgram(self, case, problem)


class JaxProgram(Program):
    """One case of a `JaxPeer`."""

    def __init__(self, peer: JaxPeer, case: Case, problem: Problem) -> None:
        self.peer, self.case, self.problem = peer, case, problem
        self.dtype = jnp.dtype(case.dtype)
        self.compile_seconds = {}
        self.variables = self._variables()
        lengths = None if problem.lengths is None else jnp.array(problem.lengths)
        self.xs = self._array(self._swap(problem.xs))
        self.batch = (self.xs, self._array(self._swap(problem.cotangents)), lengths)
        self.note = peer.note(case)
        self._prepare_stream() if case.single_steps else self._compile()

    def _compile(self) -> None:
        model = self.peer.model(self.case)

        def loss(variables, xs, cotangents, lengths):
            _, ys = model(variables, xs, lengths)
            return jnp.sum(ys * cotangents)

        xs, _, lengths = self.batch
        gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
        self._forward = self._compiled(
            "forward", jax.jit(model), self.variables, xs, lengths
        )
        self._backward = self._compiled(
            "backward", gradients, self.variables, *self.batch
        )
        memory = self._backward.memory_analysis()
        self.temporary_bytes = None if memory is None else memory.temp_size_in_bytes
        if "update" in self.case.figures:
            step, self.state = self.peer.train_step(loss, self._variables())
            self._update = self._compiled("update", step, self.state, *self.batch)

    def _prepare_stream(self) -> None:
        step, self.start, shape = self.peer.stepper(self.case)
        self.carry = self.start
        self.inputs = [self._array(x.reshape(shape)) for x in self.problem.xs[:, 0]]
        self._stream = self._compiled(
            "stream", jax.jit(step), self.variables, self.start, self.inputs[0]
        )

    def _compiled(self, figure: str, function: Any, *args: Any) -> Any:
        start = time.perf_counter()
        compiled = function.lower(*args).compile()
        self.compile_seconds[figure] = time.perf_counter() - start
        return compiled

    def run(self, figure: str) -> None:
        getattr(self, f"_run_{figure}")()

    def _run_forward(self) -> None:
        xs, _, lengths = self.batch
        jax.block_until_ready(self._forward(self.variables, xs, lengths))

    def _run_backward(self) -> None:
        jax.block_until_ready(self._backward(self.variables, *self.batch))

    def _run_update(self) -> None:
        self.state, report = self._update(self.state, *self.batch)
        jax.block_until_ready((self.state, report))

    def _run_stream(self) -> None:
        self.carry, y = self._stream(self.variables, self.carry, self.inputs[0])
        jax.block_until_ready((self.carry, y))

    def answer(self) -> Answer:
        xs, _, lengths = self.batch
        h, ys = self._forward(self.variables, xs, lengths)
        _, (gradients, d_xs) = self._backward(self.variables, *self.batch)
        return Answer(
            self._swap(_numpy(ys)),
            _numpy(h),
            self._swap(_numpy(d_xs)),
            self._cells(gradients),
        )

    def updated(self) -> tuple[list[Cell], list[Cell]]:
        before = self._cells(self.peer.trained(self.state))
        self._run_update()
        return before, self._cells(self.peer.trained(self.state))

    def streamed(self, steps: int) -> Array:
        carry, ys = self.start, []
        for x in self.inputs[:steps]:
            carry, y = self._stream(self.variables, carry, x)
            ys.append(_numpy(y).reshape(-1))
        return np.stack(ys)

    def _variables(self) -> Any:
        """A new copy of the variables, since an optimizer step donates its argument."""
        packed = self.peer.pack(self.case, self.problem.cells)
        return jax.tree.map(self._array, packed)

    def _cells(self, variables: Any) -> list[Cell]:
        return self.peer.unpack(self.case, jax.tree.map(_numpy, variables))

    def _array(self, value: Any) -> Any:
        return jnp.array(value, self.dtype)

    def _swap(self, a: Array) -> Array:
        return np.swapaxes(a, 0, 1) if self.peer.batch_first else a


def _numpy(a: Any) -> Array:
    """A copy, since donated arrays are deleted; in float32 instead of bfloat16."""
    a = np.array(a)
    return a if a.dtype.itemsize >= 4 else a.astype(np.float32)


class LayeredPeer(JaxPeer):
    """A peer whose layers are applied one after the other, each with variables of its own.

    A peer defines `pack_cell` and `unpack_cell`, or `pack_layer` and `unpack_layer`.
    """

    def pack_cell(self, case: Case, cell: Cell) -> Any:
        """The variables of a cell."""
        raise NotImplementedError

    def unpack_cell(self, case: Case, variables: Any) -> Cell:
        """The inverse of `pack_cell`."""
        raise NotImplementedError

    def pack_layer(self, case: Case, cells: list[Cell]) -> Any:
        """The variables of a layer, from its forward cell and, if any, its backward one."""
        return [self.pack_cell(case, cell) for cell in cells]

    def unpack_layer(self, case: Case, variables: Any) -> list[Cell]:
        """The inverse of `pack_layer`."""
        return [self.unpack_cell(case, variable) for variable in variables]

    @abc.abstractmethod
    def layer(self, case: Case) -> Model:
        """`(variables, xs, lengths) -> (h, ys)`; h of the forward direction."""

    def pack(self, case: Case, cells: list[Cell]) -> Any:
        count = case.directions
        layers = [cells[i : i + count] for i in range(0, len(cells), count)]
        return [self.pack_layer(case, layer) for layer in layers]

    def unpack(self, case: Case, variables: Any) -> list[Cell]:
        return [c for layer in variables for c in self.unpack_layer(case, layer)]

    def model(self, case: Case) -> Model:
        layer = self.layer(case)

        def model(variables, ys, lengths):
            h = None
            for variable in variables:
                h, ys = layer(variable, ys, lengths)
            return h, ys

        return model


def split_gates(a: Array, count: int) -> list[Array]:
    """The gates that are stacked along the last axis."""
    return np.split(a, count, axis=-1)


def join_gates(*gates: Array) -> Array:
    """Stacks gates along the last axis."""
    return np.concatenate(gates, axis=-1)


def reorder_gates(a: Array, order: str, wanted: str) -> Array:
    """Gates that are stacked in one order, in another order; a letter for each gate."""
    gates = dict(zip(order, split_gates(a, len(order)), strict=True))
    return join_gates(*(gates[gate] for gate in wanted))
