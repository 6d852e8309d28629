"""Laws of dtypes: kept, as accurate as the dtype allows, or refused with a clear error."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._layer import Layer
from .._unroll import cast, unroll
from ..strategies import Auto, Scan, Strategy
from ._case import Case, case_of, is_float, label_of, unrolled
from ._compare import LawBroken, assert_close


LOW = {jnp.bfloat16: 0.05, jnp.float16: 0.01}
"""Relative tolerances: about a dozen roundings of 2**-8 (bfloat16) or 2**-11 (float16)."""

REFUSALS = (TypeError, ValueError, NotImplementedError)


def check_dtypes(layer: Layer, **how: Any) -> None:
    """Checks that bfloat16, float16 and float64 inputs give outputs of the same dtype.

    Outputs in low precision are near those in float32, and their gradients are finite. The
    run starts from the initial state, where normalizations divide by their smallest numbers.
    A state keeps the dtype that `layer.initial_state` gives it, which may be wider.

    Args:
        layer: any layer.
        **how: `x`, `seed`, `time`, `batch` and `strategy`, as for the other laws.

    Raises:
        LawBroken: with the dtype, the place, and by how much.
    """
    strategy = how.pop("strategy", Scan())
    case = case_of(layer, how)
    if not any(map(is_float, jax.tree.leaves((case.params, case.xs)))):
        return
    label = label_of(case, strategy)
    want = _outputs(_in(case, jnp.float32), strategy)
    for dtype, tolerance in LOW.items():
        low = _in(case, dtype)
        found = unrolled(low, options={}, strategy=strategy)
        got = found.pop("state"), found.pop("ys")
        assert_close("dtypes", label, got, _like(want, low, dtype), tolerance)
        _assert_finite(f"{label} in {jnp.dtype(dtype)}", found)
    with jax.enable_x64(True):
        double = _in(case, jnp.float64)
        got, want = _outputs(double, strategy), _like(want, double, jnp.float64)
        assert_close("dtypes", label, got, want, 1e-4)


def _in(case: Case, dtype: Any) -> Case:
    """The case with params and inputs in a dtype, from the initial state of those params."""
    params, xs = cast(case.params, dtype), cast(case.xs, dtype)
    one = case.layer.initial_state(params)
    rows = lambda s: jnp.broadcast_to(s, (case.batch, *s.shape))
    return dataclasses.replace(
        case, params=params, xs=xs, state=jax.tree.map(rows, one)
    )


def _outputs(case: Case, strategy: Strategy) -> Any:
    return unroll(case.layer, case.params, case.xs, case.state, strategy=strategy)


def _like(outputs: Any, case: Case, dtype: Any) -> Any:
    """State and outputs cast to the dtypes that the results of a case must have."""
    state = jax.tree.map(lambda s, t: s.astype(t.dtype), outputs[0], case.state)
    return state, cast(outputs[1], dtype)


def _assert_finite(case: str, tree: Any) -> None:
    for path, leaf in jax.tree.leaves_with_path(tree):
        if is_float(leaf) and not np.all(jnp.isfinite(leaf)):
            place = jax.tree_util.keystr(path)
            raise LawBroken(f"dtypes: {case}: {place} is not finite.")


def check_inputs(layer: Layer, **how: Any) -> None:
    """Checks inputs of unusual dtypes: each equals the same numbers as floats, or is refused.

    The dtypes are booleans, integers and complex numbers. For layers that take symbols, every
    integer dtype gives the same result. JAX's default dtype promotion is in force, as it is
    for most users.

    Args:
        layer: any layer.
        **how: `x`, `seed`, `time`, `batch` and `strategy`, as for the other laws.

    Raises:
        LawBroken: with the dtype, the place, and by how much; also for a refusal without a
            message.
    """
    strategy = how.pop("strategy", Auto())
    case = case_of(layer, {"time": 3, **how})
    label = label_of(case, strategy)
    numbers = jax.tree.map(_small, case.xs)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        meant = jax.tree.map(lambda n, x: n.astype(x.dtype), numbers, case.xs)
        want = unroll(case.layer, case.params, meant, strategy=strategy)
        for dtype in (bool, np.uint8, np.int32, np.complex64):
            given = jax.tree.map(partial(_given, dtype), numbers, case.xs)
            name = f"{label} on {np.dtype(dtype)}"
            got = _unless_refused(case, given, strategy, name)
            if got is None:
                continue
            if dtype is np.complex64:
                got = jax.tree.map(_real_as, got, want)
            assert_close("dtypes of inputs", name, got, want, 1e-5)


def _small(leaf: Any) -> jax.Array:
    """Zeros and ones, which every dtype can represent; symbols are limited to one byte."""
    if is_float(leaf):
        return jnp.asarray(np.arange(leaf.size).reshape(leaf.shape) * 7 % 5 % 2)
    return jnp.minimum(leaf, np.iinfo(np.uint8).max)


def _given(dtype: Any, number: jax.Array, leaf: Any) -> jax.Array:
    """The numbers in a dtype; symbols stay integers if the dtype is not an integer dtype."""
    integer = np.dtype(dtype).kind in "iu"
    return number.astype(dtype) if integer or is_float(leaf) else number


def _unless_refused(case: Case, xs: Any, strategy: Strategy, label: str) -> Any:
    try:
        return unroll(case.layer, case.params, xs, strategy=strategy)
    except REFUSALS as error:
        if len(str(error)) < 30:
            raise LawBroken(
                f"dtypes of inputs: {label} is refused without an explanation: {error!r}"
            ) from error
        return None


def _real_as(got: Any, want: Any) -> Any:
    """The real part of an output that is complex only because its input was."""
    real = jnp.isrealobj(want) and jnp.iscomplexobj(got)
    return jnp.real(got) if real else got
