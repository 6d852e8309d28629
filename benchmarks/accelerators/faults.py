"""Planted faults: each check must find the fault that it is there for."""

from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from jaxrnn import LSTM, Hoisted, Scan
from jaxrnn.strategies import _scan
from jaxrnn.strategies.hoisted import _recurrence

from . import checks
from .figures import compile_case, figures
from .programs import BATCH, SIZE, TIME, Case
from .report import ratio_faults
from .targets import Compiler, Target


def planted_faults(target: Target) -> Iterator[tuple[str, list[str], list[str]]]:
    """For each fault: its name, the findings without it, and the findings with it.

    The first list must be empty, the second one not.
    """
    compiler = Compiler(target)
    yield "a call of a C++ kernel for CPU", *_cpu_call(compiler)
    yield "a residual of every time step", *_residual(target, compiler)
    if target.platform == "tpu":
        yield "weights in main memory", *_weights(target, compiler)
    else:
        yield "weights converted in the loop", *_conversion(target, compiler)


def _case(strategy: Any, dtype: str, backward: bool) -> Case:
    return Case(LSTM(SIZE, SIZE), strategy, dtype, backward, (TIME, BATCH))


def _cpu_call(compiler: Compiler) -> tuple[list[str], list[str]]:
    x = jax.ShapeDtypeStruct((8, 128), jnp.float32)
    call = jax.ffi.ffi_call("jaxrnn_forward", x)
    texts = (compiler.lower(fn, x).as_text() for fn in (jnp.tanh, call))
    good, bad = (checks.cpu_calls(text) for text in texts)
    return good, bad


def _residual(target: Target, compiler: Compiler) -> tuple[list[str], list[str]]:
    """The results of all matmuls, kept for the backward pass."""

    def found(strategy: Any) -> dict[str, Any]:
        case = _case(strategy, "float32", True)
        return figures(target, case, *compile_case(compiler, case))

    scan = found(Scan())
    good, bad = (
        ratio_faults({"target": target.name, "large": [scan, found(strategy)]})
        for strategy in (Hoisted(), Hoisted(recompute=False))
    )
    return good, bad


def _weights(target: Target, compiler: Compiler) -> tuple[list[str], list[str]]:
    """Weights that are not copied, so that a loop reads them from main memory."""
    plant = lambda: mock.patch.object(_recurrence, "resident", lambda tree: tree)
    return _with_and_without(
        plant, target, compiler, _case(Hoisted(), "bfloat16", False)
    )


def _conversion(target: Target, compiler: Compiler) -> tuple[list[str], list[str]]:
    """Params that are widened before the loop and narrowed in every step."""

    def widened(params: Any) -> tuple[Any, Callable]:
        wide = jax.tree.map(lambda p: p.astype(jnp.float32), params)
        return wide, lambda w: jax.tree.map(lambda w, p: w.astype(p.dtype), w, params)

    plant = lambda: mock.patch.object(_scan, "accumulate_in_float32", widened)
    return _with_and_without(plant, target, compiler, _case(Scan(), "bfloat16", False))


def _with_and_without(
    plant: Callable, target: Target, compiler: Compiler, case: Case
) -> tuple[list[str], list[str]]:
    def found() -> list[str]:
        jax.clear_caches()  # a cached trace would not see the plant
        return figures(target, case, *compile_case(compiler, case))["faults"]

    good = found()
    with plant():
        bad = found()
    jax.clear_caches()
    return good, bad
