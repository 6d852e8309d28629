"""Functions whose matmuls sum in float32."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from ..._partition import Operation, Slot, inlined, value_of


def with_wide_matmuls(fn: Callable) -> Callable:
    """`fn` with every matmul summed at least in float32, and rounded to its dtype after.

    The compiler of a TPU kernel refuses bfloat16 as the dtype of a sum.
    """

    def run(*args: Any) -> Any:
        traced, out = jax.make_jaxpr(fn, return_shape=True)(*args)
        slots = [Slot() for _ in traced.jaxpr.invars]
        values: dict[Slot, Any] = dict(zip(slots, jax.tree.leaves(args), strict=True))
        operations, outputs = inlined(traced, slots, values)
        for operation in operations:
            if operation.primitive is lax.dot_general_p:
                _matmul(operation, values)
            else:
                operation(values)
        found = [value_of(values, operand) for operand in outputs]
        return jax.tree.unflatten(jax.tree.structure(out), found)

    return run


def _matmul(operation: Operation, values: dict[Slot, Any]) -> None:
    a, b = (value_of(values, operand) for operand in operation.inputs)
    narrow = a.dtype.itemsize < 4
    wide = {"preferred_element_type": jax.numpy.float32} if narrow else {}
    out = operation.params["preferred_element_type"] or a.dtype
    y = operation.primitive.bind(a, b, **operation.params | wide)
    values[operation.outputs[0]] = y.astype(out)
