"""A function in which every branch of every choice counts.

The derivative of max(x, 0) is zero on one side. Where a derivative can be different from
zero on either side of a choice is seen at a single point if the choice is replaced by the
sum of its branches: select(c, a, b) becomes a + b, and a comparison that is used as a
number becomes 1. Choices that do not depend on the arguments, such as a constant mask,
are left as they are.
"""

import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr

from .._partition import Operand, Operation, Slot, inlined, value_of


def every_branch(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the sum of the branches in place of each choice.

    Bodies of `scan` and `while_loop` are left as they are.
    """

    def run(*args: Any) -> Any:
        traced, out = jax.make_jaxpr(function, return_shape=True)(*args)
        found = _evaluate(traced, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(out), found)

    return run


def _evaluate(traced: ClosedJaxpr, args: Iterable[Any]) -> list[Any]:
    ins = [Slot() for _ in traced.jaxpr.invars]
    values: dict[Slot, Any] = {}
    operations, after = inlined(traced, ins, values)
    values.update(zip(ins, args, strict=True))
    varying: set[Operand] = set(ins)
    for operation in operations:
        if any(isinstance(i, Slot) and i in varying for i in operation.inputs):
            varying.update(operation.outputs)
            _run(operation, values, varying)
        else:
            operation(values)
    return [value_of(values, operand) for operand in after]


def _run(operation: Operation, values: dict[Slot, Any], varying: set[Operand]) -> None:
    name, first = operation.primitive.name, operation.inputs[0]
    chosen = isinstance(first, Slot) and first in varying  # by a value that varies
    given = [value_of(values, operand) for operand in operation.inputs]
    if name == "cond" and chosen:
        branches = operation.params["branches"]
        found = [_evaluate(branch, given[1:]) for branch in branches]
        for slot, *several in zip(operation.outputs, *found, strict=True):
            values[slot] = _sum(several)
    elif name == "select_n" and chosen:
        values[operation.outputs[0]] = _sum(given[1:])
    elif name == "convert_element_type" and jnp.isdtype(given[0].dtype, "bool"):
        dtype = operation.params["new_dtype"]
        values[operation.outputs[0]] = jnp.ones_like(given[0], dtype)
    else:
        operation(values)


def _sum(branches: list[Any]) -> Any:
    """The sum; of indices and symbols, which have no derivative, the first branch."""
    if jnp.issubdtype(jnp.result_type(branches[0]), jnp.inexact):
        # a branch may be NaN where it is not taken, as log(x) is for x < 0
        return functools.reduce(
            operator.add, (jnp.nan_to_num(b, nan=1) for b in branches)
        )
    return branches[0]
