"""Detects element-wise recurrences, in which each unit of the state depends only on itself.

The answer is read off the traced `recur`, so that cells need not declare it. It is
conservative: a cell that is not found to be element-wise is treated as dense, which costs
more but is always right.
"""

from typing import Any

import jax

from ..._layer import Cell


_ELEMENTWISE = frozenset(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp "
    "convert_element_type copy copy_p cos cosh div eq erf erf_inv erfc exp exp2 expm1 floor "
    "ge gt integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg "
    "nextafter not or pow rem round rsqrt select_n sign sin sinh sqrt square "
    "stop_gradient sub tan tanh xor".split()
)


def is_elementwise(cell: Cell, params: Any, state: Any, z: Any) -> bool:
    """Whether unit u of each leaf of the new state depends only on unit u of the old one.

    Args:
        cell: any cell.
        params, state, z: the arguments of `recur` for one sequence; shapes are enough.
    """
    shapes = {leaf.shape for leaf in jax.tree.leaves(state)}
    if len(shapes) != 1:
        return False
    traced = jax.make_jaxpr(cell.recur)(params, state, z)
    before = len(jax.tree.leaves(params))
    count = len(jax.tree.leaves(state))
    depends = [before <= i < before + count for i, _ in enumerate(traced.jaxpr.invars)]
    (shape,) = shapes
    return _follow(traced.jaxpr, depends, shape) is not None


def _follow(jaxpr: Any, depends: list[bool], shape: tuple) -> list[bool] | None:
    """For each output, whether it depends on the state; None if not element by element.

    Dependence is propagated through the equations of the jaxpr, and into the jaxprs that
    they call. An equation that reads the state must be an element-wise primitive, and its
    inputs from the state and its outputs must have the state's shape, so that nothing is
    moved between units.
    """
    states = {v for v, d in zip(jaxpr.invars, depends, strict=True) if d}
    # a literal cannot be hashed, so it cannot be looked up in the set
    on_state = lambda v: not hasattr(v, "val") and v in states
    for eqn in jaxpr.eqns:
        inputs = [on_state(v) for v in eqn.invars]
        if not any(inputs):
            continue
        inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if inner is not None and len(inputs) == len(_open(inner).invars):
            outputs = _follow(_open(inner), inputs, shape)
        else:
            outputs = _of_primitive(eqn, inputs, shape)
        if outputs is None:
            return None
        states |= {v for v, d in zip(eqn.outvars, outputs, strict=True) if d}
    return [on_state(v) for v in jaxpr.outvars]


def _open(jaxpr: Any) -> Any:
    return getattr(jaxpr, "jaxpr", jaxpr)


def _of_primitive(eqn: Any, inputs: list[bool], shape: tuple) -> list[bool] | None:
    moved = [v.aval.shape for v, d in zip(eqn.invars, inputs, strict=True) if d]
    shapes = {*moved, *(v.aval.shape for v in eqn.outvars)}
    if eqn.primitive.name not in _ELEMENTWISE or shapes != {shape}:
        return None
    return [True] * len(eqn.outvars)
