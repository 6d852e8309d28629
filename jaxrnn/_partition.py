"""Traces the step of a cell once, and partitions it at its matmuls with parameters.

`recur` becomes a list of operations of two kinds: those that depend on parameters alone,
which run once, before the loop; and all others, which run in every step. Among these, a
`dot_general` with a value of the first kind is a matmul with a weight. Only matmuls gain
from running for many time steps at once, since the other operations are usually
element-wise and cheap.

A partitioned step can run with any function in place of its matmuls. This is all that the
schedule of `_recurrence` needs: the matmuls themselves in the forward loop; their known
results in the backward loop; and a record of their operands for the weight gradients.
"""

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal, Primitive

from ._sharding import aligned


_CALLS = ("jit", "pjit", "closed_call", "remat2", "checkpoint")
"""Primitives that only call a jaxpr, so that its equations can replace them."""


# Operations, rather than a rewritten jaxpr, can be split and run in parts with nothing but
# `Primitive.bind`; how a jaxpr is built by hand changes between versions of JAX.
class Slot:
    """A key for one intermediate value; it takes the place of a jaxpr's variable."""


Operand = Slot | Literal


@dataclass(frozen=True, eq=False)
class Operation:
    """One primitive applied to values: an equation of a jaxpr."""

    primitive: Primitive
    params: dict[str, Any]
    inputs: tuple[Operand, ...]
    outputs: tuple[Slot, ...]

    def __call__(self, values: dict[Slot, Any]) -> None:
        read = [value_of(values, operand) for operand in self.inputs]
        # an equation holds jaxprs where `bind` takes functions, as for custom_jvp
        params = self.primitive.get_bind_params(self.params)
        found = self.primitive.bind(*read, **params)
        several = self.primitive.multiple_results
        values.update(zip(self.outputs, found if several else [found], strict=True))


@dataclass(frozen=True, eq=False)
class Matmul(Operation):
    """A `dot_general` of an operand, which differs from step to step, and a weight."""

    side: int
    """The position of the weight among the inputs: 0 or 1."""

    @property
    def operand(self) -> Slot:
        return self._input(1 - self.side)

    @property
    def weight(self) -> Slot:
        return self._input(self.side)

    def _input(self, side: int) -> Slot:
        found = self.inputs[side]
        assert isinstance(found, Slot), "literals are scalars"
        return found

    def of(self, a: jax.Array, w: jax.Array) -> jax.Array:
        """The result of this matmul for the operand `a` and the weight `w`."""
        return self.primitive.bind(
            *((w, a) if self.side == 0 else (a, w)), **self.params
        )

    def operand_gradient(self, a: Any, w: jax.Array, dy: jax.Array) -> jax.Array:
        """The operand's gradient from the result's; `a` gives only its shape and dtype."""
        # bilinear: linear in the operand for a given weight, so its transpose is the
        # gradient and no value of the operand is needed
        like = aligned(jnp.zeros(a.shape, a.dtype), dy)
        return jax.linear_transpose(lambda a: self.of(a, w), like)(dy)[0]

    def weight_gradient(self, a: jax.Array, dy: jax.Array) -> jax.Array:
        """The weight's gradient for all steps in one matmul, at least in float32.

        dw = sum over t of a_t^T dy_t

        `a` and `dy` are `(T, ...)`. Time joins the dimensions that are summed, so the sum
        over steps is part of the matmul, and no array of weights is made for each step.
        """
        contracting, batch = self.params["dimension_numbers"]
        if self.side == 0:
            contracting, batch = contracting[::-1], batch[::-1]
        # dimensions of a and w (without time) that the matmul sums, and its batch
        # dimensions
        (ca, cw), (ba, bw) = contracting, batch
        free_a = [d for d in range(a.ndim - 1) if d not in (*ca, *ba)]
        # dot_general puts the batch dimensions first, then the free ones of the left input,
        # then those of the right one
        count = dy.ndim - 1 - len(ba) - len(free_a)
        first = len(ba) + (count if self.side == 0 else 0)
        free_y = list(range(first, first + len(free_a)))
        summed = ([0, *_later(free_a)], [0, *_later(free_y)])
        kept = (_later(ba), _later(range(len(ba))))
        wide = at_least_float32(a.dtype)
        dw = lax.dot_general(a, dy, (summed, kept), preferred_element_type=wide)
        # dw has the batch dimensions, then those that the matmul sums, in their order in
        # `a`, then the free ones of w: put them back in the order of w
        by_place = [w for _, w in sorted(zip(ca, cw, strict=True))]
        ndim = len(bw) + len(cw) + count
        free_w = [d for d in range(ndim) if d not in (*cw, *bw)]
        return jnp.transpose(dw, _inverse([*bw, *by_place, *free_w]))


Multiply = Callable[[int, Matmul, jax.Array, jax.Array], jax.Array]
"""`(i, matmul, operand, weight) -> result`: replaces the i-th matmul of a step."""


def run_matmul(i: int, matmul: Matmul, a: jax.Array, w: jax.Array) -> jax.Array:
    """Runs the matmul itself."""
    del i
    return matmul.of(a, w)


@dataclass(frozen=True, eq=False)
class PartitionedStep:
    """A step `(params, state, z) -> state'` of a batch, partitioned at its matmuls.

    Attributes:
        before: the operations on parameters alone.
        during: all other operations, matmuls included.
        constants: the values of arrays that `recur` closes over.
        params, state, z: the slots of the inputs.
        after: the operands that make the next state.
        matmuls: the matmuls among `during`, in their order.
        weights: the slots of the weights; two matmuls may share one.
        rest: the slots of `before` and `params` that other operations of `during` read.
    """

    before: tuple[Operation, ...]
    during: tuple[Operation, ...]
    constants: dict[Slot, Any]
    params: tuple[Slot, ...]
    state: tuple[Slot, ...]
    z: tuple[Slot, ...]
    after: tuple[Operand, ...]
    matmuls: tuple[Matmul, ...]
    weights: tuple[Slot, ...]
    rest: tuple[Slot, ...]

    def hoist(self, params: Any) -> tuple[list[jax.Array], list[jax.Array]]:
        """Runs the operations on parameters alone, and returns the weights and the rest."""
        leaves = jax.tree.leaves(params)
        values = self.constants | dict(zip(self.params, leaves, strict=True))
        for operation in self.before:
            operation(values)
        return [values[s] for s in self.weights], [values[s] for s in self.rest]

    def step(
        self,
        hoisted: tuple[list, list],
        state: Any,
        z: Any,
        multiply: Multiply = run_matmul,
    ) -> Any:
        """The next state, with `multiply` in place of every matmul."""
        values = dict(zip(self.weights, hoisted[0], strict=True))
        values |= zip(self.rest, hoisted[1], strict=True)
        values |= zip(self.state, jax.tree.leaves(state), strict=True)
        values |= zip(self.z, jax.tree.leaves(z), strict=True)
        i = 0
        for operation in self.during:
            if isinstance(operation, Matmul):
                a, w = values[operation.operand], values[operation.weight]
                values[operation.outputs[0]] = multiply(i, operation, a, w)
                i += 1
            else:
                operation(values)
        after = [value_of(values, operand) for operand in self.after]
        return jax.tree.unflatten(jax.tree.structure(state), after)


def partition(step: Callable, params: Any, state: Any, z: Any) -> PartitionedStep:
    """Traces `step(params, state, z) -> state'` for these shapes, and partitions it."""
    traced = jax.make_jaxpr(step)(params, state, z)
    ins = [Slot() for _ in traced.jaxpr.invars]
    constants: dict[Slot, Any] = {}
    operations, after = inlined(traced, ins, constants)
    p, s = len(jax.tree.leaves(params)), len(jax.tree.leaves(state))
    # one pass in order of execution: an operation depends on parameters alone if all of its
    # inputs do
    from_params = {*ins[:p], *constants}
    before, during = [], []
    # Inside `shard_map`, a literal is cast to vary over the mesh axes. Such casts, and the
    # operations on their results alone, stay in the loop: as hoisted values they would get
    # gradients, which would be summed over devices for nothing.
    literal: set[Slot] = set()
    for operation in operations:
        if all(isinstance(i, Literal) or i in from_params for i in operation.inputs):
            before.append(operation)
            from_params.update(operation.outputs)
            if _of_cast_literals(operation, literal):
                during.append(operation)
                literal.update(operation.outputs)
        else:
            during.append(_as_matmul(operation, from_params))
    matmuls = tuple(o for o in during if isinstance(o, Matmul))
    weights = _unique(matmul.weight for matmul in matmuls)
    used = [
        o.inputs[1 - o.side :][:1] if isinstance(o, Matmul) else o.inputs
        for o in during
    ]
    read = [i for inputs in (*used, after) for i in inputs]
    rest = _unique(
        i for i in read if isinstance(i, Slot) and i in from_params - literal
    )
    return PartitionedStep(
        tuple(before), tuple(during), constants,
        tuple(ins[:p]), tuple(ins[p : p + s]), tuple(ins[p + s :]), tuple(after),
        matmuls, weights, rest,
    )  # fmt: skip


def _of_cast_literals(operation: Operation, literal: set[Slot]) -> bool:
    """Whether an operation casts a literal, or reads nothing but such casts."""
    slots = [i for i in operation.inputs if isinstance(i, Slot)]
    cast = operation.primitive.name == "pvary"
    return all(i in literal for i in slots) and (cast or bool(slots))


def _as_matmul(operation: Operation, from_params: set[Slot]) -> Operation:
    if operation.primitive is not lax.dot_general_p:
        return operation
    sides = [i for i, x in enumerate(operation.inputs) if x in from_params]
    if not sides:
        return operation
    return Matmul(**vars(operation), side=sides[0])


def inlined(
    closed: ClosedJaxpr,
    inputs: Iterable[Operand],
    constants: dict[Slot, Any],
    whole: Container[str] = (),
) -> tuple[list[Operation], list[Operand]]:
    """The operations of a jaxpr, with the jaxprs that it calls inlined, and its outputs.

    Inlining matters: the partition could not see a matmul inside a jitted function that the
    cell calls. A jitted function whose name is in `whole` stays one operation.
    """
    jaxpr = closed.jaxpr
    places: dict[Any, Operand] = dict(zip(jaxpr.invars, inputs, strict=True))
    for variable, value in zip(jaxpr.constvars, closed.consts, strict=True):
        places[variable] = slot = Slot()
        constants[slot] = value
    found = lambda atom: atom if isinstance(atom, Literal) else places[atom]
    operations = []
    for equation in jaxpr.eqns:
        ins = tuple(map(found, equation.invars))
        called = equation.primitive.name in _CALLS
        if called and equation.params.get("name") not in whole:
            inner = equation.params["jaxpr"]
            inner = inner if hasattr(inner, "consts") else ClosedJaxpr(inner, ())
            more, outs = inlined(inner, ins, constants, whole)
            operations += more
        else:
            own = tuple(Slot() for _ in equation.outvars)
            made = (equation.primitive, equation.params, ins, own)
            operations.append(Operation(*made))
            outs = list(own)
        places.update(zip(equation.outvars, outs, strict=True))
    return operations, [found(atom) for atom in jaxpr.outvars]


def at_least_float32(dtype: Any) -> Any:
    """The dtype in which gradients are summed."""
    return dtype if dtype.itemsize >= 4 else jnp.float32


def value_of(values: dict[Slot, Any], operand: Operand) -> Any:
    return operand.val if isinstance(operand, Literal) else values[operand]


def _unique(slots: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(slots))


def _later(dims: Iterable[int]) -> list[int]:
    """The positions of these dimensions once time is added in front."""
    return [d + 1 for d in dims]


def _inverse(order: list[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)
