"""A step, traced once and cut at its products with parameters.

`recur` becomes a list of operations, each of one of two kinds: those that depend on
parameters alone, which run once, before the loop; and the rest. Among the rest, a
`dot_general` of something with parameters is a product: what multiplies time and batch
into one large product, where every other operation is element-wise and cheap.

A cut step can be run with anything in place of its products. That is all a schedule needs:
the products themselves in the forward loop, their results, known already, in the backward
loop, and a record of their operands when weight gradients are taken.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal, Primitive

from ..._sharding import aligned


_CALLS = ("jit", "pjit", "closed_call", "remat2", "checkpoint")
"""Primitives that only call a jaxpr: what they call is what they are."""


class Slot:
    """The place of one intermediate value."""


Operand = Slot | Literal


@dataclass(frozen=True, eq=False)
class Operation:
    """One primitive applied to values."""

    primitive: Primitive
    params: dict[str, Any]
    inputs: tuple[Operand, ...]
    outputs: tuple[Slot, ...]

    def __call__(self, values: dict[Slot, Any]) -> None:
        read = [_read(values, operand) for operand in self.inputs]
        params = self.primitive.get_bind_params(self.params)
        found = self.primitive.bind(*read, **params)
        several = self.primitive.multiple_results
        values.update(zip(self.outputs, found if several else [found], strict=True))


@dataclass(frozen=True, eq=False)
class Product(Operation):
    """A `dot_general` of an operand, which varies from step to step, and a weight."""

    side: int
    """Which of the two is the weight."""

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
        """The product of this operand and this weight."""
        return self.primitive.bind(
            *((w, a) if self.side == 0 else (a, w)), **self.params
        )

    def operand_gradient(self, a: Any, w: jax.Array, dy: jax.Array) -> jax.Array:
        """What `dy` says of the operand, which is of the shape and dtype of `a`."""
        like = aligned(jnp.zeros(a.shape, a.dtype), dy)
        return jax.linear_transpose(lambda a: self.of(a, w), like)(dy)[0]

    def weight_gradient(self, a: jax.Array, dy: jax.Array) -> jax.Array:
        """What `dy` says of the weight, in float32 at least: `(T, ...)` in one product.

        dw = sum over t of a_t^T dy_t
        """
        contracting, batch = self.params["dimension_numbers"]
        if self.side == 0:
            contracting, batch = contracting[::-1], batch[::-1]
        (ca, cw), (ba, bw) = contracting, batch
        free_a = [d for d in range(a.ndim - 1) if d not in (*ca, *ba)]
        # the result has its batch dimensions first, then the free ones of each side
        count = dy.ndim - 1 - len(ba) - len(free_a)
        first = len(ba) + (count if self.side == 0 else 0)
        free_y = list(range(first, first + len(free_a)))
        summed = ([0, *_later(free_a)], [0, *_later(free_y)])
        kept = (_later(ba), _later(range(len(ba))))
        wide = at_least_float32(a.dtype)
        dw = lax.dot_general(a, dy, (summed, kept), preferred_element_type=wide)
        # dims of dw: batch, the contracted ones in their order in `a`, the free ones of w
        by_place = [w for _, w in sorted(zip(ca, cw, strict=True))]
        ndim = len(bw) + len(cw) + count
        free_w = [d for d in range(ndim) if d not in (*cw, *bw)]
        return jnp.transpose(dw, _inverse([*bw, *by_place, *free_w]))


Multiply = Callable[[int, Product, jax.Array, jax.Array], jax.Array]
"""What stands for product number i, of an operand and a weight."""


def multiplied(i: int, product: Product, a: jax.Array, w: jax.Array) -> jax.Array:
    """The product itself."""
    del i
    return product.of(a, w)


@dataclass(frozen=True, eq=False)
class PartitionedStep:
    """A step `(params, state, z) -> state'` of a batch, cut at its products.

    Attributes:
        before: the operations on parameters alone.
        during: the others, products among them.
        products: those of `during` that are products, in their order.
        weights: the values that products multiply with.
        rest: what other operations of `during` take from `before` and from `params`.
    """

    before: tuple[Operation, ...]
    during: tuple[Operation, ...]
    constants: dict[Slot, Any]
    params: tuple[Slot, ...]
    state: tuple[Slot, ...]
    z: tuple[Slot, ...]
    after: tuple[Operand, ...]
    products: tuple[Product, ...]
    weights: tuple[Slot, ...]
    rest: tuple[Slot, ...]

    def hoist(self, params: Any) -> tuple[list[jax.Array], list[jax.Array]]:
        """What of a step depends on parameters alone: the weights, and the rest."""
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
        multiply: Multiply = multiplied,
    ) -> Any:
        """The next state, with `multiply` in place of every product."""
        values = dict(zip(self.weights, hoisted[0], strict=True))
        values |= zip(self.rest, hoisted[1], strict=True)
        values |= zip(self.state, jax.tree.leaves(state), strict=True)
        values |= zip(self.z, jax.tree.leaves(z), strict=True)
        i = 0
        for operation in self.during:
            if isinstance(operation, Product):
                a, w = values[operation.operand], values[operation.weight]
                values[operation.outputs[0]] = multiply(i, operation, a, w)
                i += 1
            else:
                operation(values)
        after = [_read(values, operand) for operand in self.after]
        return jax.tree.unflatten(jax.tree.structure(state), after)


def partition(step: Callable, params: Any, state: Any, z: Any) -> PartitionedStep:
    """Traces `step(params, state, z) -> state'`, for arrays of these shapes."""
    traced = jax.make_jaxpr(step)(params, state, z)
    ins = [Slot() for _ in traced.jaxpr.invars]
    constants: dict[Slot, Any] = {}
    operations, after = _inlined(traced, ins, constants)
    p, s = len(jax.tree.leaves(params)), len(jax.tree.leaves(state))
    alone = {*ins[:p], *constants}
    before, during = [], []
    literal: set[Slot] = (
        set()
    )  # in `shard_map`, literals that are cast, and what follows
    for operation in operations:
        if all(isinstance(i, Literal) or i in alone for i in operation.inputs):
            before.append(operation)
            alone.update(operation.outputs)
            if _of_cast_literals(operation, literal):
                during.append(operation)  # no parameter, whose gradient would be summed
                literal.update(operation.outputs)
        else:
            during.append(_as_product(operation, alone))
    products = tuple(o for o in during if isinstance(o, Product))
    weights = _unique(product.weight for product in products)
    used = [
        o.inputs[1 - o.side :][:1] if isinstance(o, Product) else o.inputs
        for o in during
    ]
    read = [i for inputs in (*used, after) for i in inputs]
    rest = _unique(i for i in read if isinstance(i, Slot) and i in alone - literal)
    return PartitionedStep(
        tuple(before), tuple(during), constants,
        tuple(ins[:p]), tuple(ins[p : p + s]), tuple(ins[p + s :]), tuple(after),
        products, weights, rest,
    )  # fmt: skip


def _of_cast_literals(operation: Operation, literal: set[Slot]) -> bool:
    slots = [i for i in operation.inputs if isinstance(i, Slot)]
    cast = operation.primitive.name == "pvary"
    return all(i in literal for i in slots) and (cast or bool(slots))


def _as_product(operation: Operation, alone: set[Slot]) -> Operation:
    if operation.primitive is not lax.dot_general_p:
        return operation
    sides = [i for i, x in enumerate(operation.inputs) if x in alone]
    if not sides:
        return operation
    return Product(**vars(operation), side=sides[0])


def _inlined(
    closed: ClosedJaxpr, inputs: Iterable[Operand], constants: dict[Slot, Any]
) -> tuple[list[Operation], list[Operand]]:
    """The operations of a jaxpr and of those that it calls, and what it returns."""
    jaxpr = closed.jaxpr
    places: dict[Any, Operand] = dict(zip(jaxpr.invars, inputs, strict=True))
    for variable, value in zip(jaxpr.constvars, closed.consts, strict=True):
        places[variable] = slot = Slot()
        constants[slot] = value
    found = lambda atom: atom if isinstance(atom, Literal) else places[atom]
    operations = []
    for equation in jaxpr.eqns:
        ins = tuple(map(found, equation.invars))
        if equation.primitive.name in _CALLS:
            inner = equation.params["jaxpr"]
            inner = inner if hasattr(inner, "consts") else ClosedJaxpr(inner, ())
            more, outs = _inlined(inner, ins, constants)
            operations += more
        else:
            own = tuple(Slot() for _ in equation.outvars)
            made = (equation.primitive, equation.params, ins, own)
            operations.append(Operation(*made))
            outs = list(own)
        places.update(zip(equation.outvars, outs, strict=True))
    return operations, [found(atom) for atom in jaxpr.outvars]


def at_least_float32(dtype: Any) -> Any:
    """The dtype in which gradients are added up."""
    return dtype if dtype.itemsize >= 4 else jnp.float32


def _read(values: dict[Slot, Any], operand: Operand) -> Any:
    return operand.val if isinstance(operand, Literal) else values[operand]


def _unique(slots: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(slots))


def _later(dims: Iterable[int]) -> list[int]:
    """The same dimensions of an array with time in front."""
    return [d + 1 for d in dims]


def _inverse(order: list[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)
