"""Checks of the arguments of this package, before anything runs."""

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import _check
from .._check_step import cached, signature, structs
from .._layer import Layer


class Given(NamedTuple):
    """The validated arguments that all decoders of a layer share."""

    params: Any
    state: Any
    symbols: Any
    vocabulary: int


def check_decoder(
    layer: Any, params: Any, state: Any, symbols: Any, name: str, layout: str
) -> Given:
    """Checks a layer that reads and predicts symbols.

    `layout` is the expected layout of the symbols, "(B,)" or "(T, B)".
    """
    _check.check_layer(layer)
    params = _check.check_params(layer, params)
    symbols = _check_symbols(symbols, name, layout)
    state = _check.check_state(layer, params, state, symbols.shape[-1])
    one = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape[1:], s.dtype), state)
    x = jax.ShapeDtypeStruct((), symbols.dtype)
    vocabulary = _vocabulary(layer, *map(signature, (params, one, x)))
    if vocabulary - 1 > np.iinfo(symbols.dtype).max:
        raise ValueError(
            f"{name} is {symbols.dtype}, which cannot hold all {vocabulary} symbols that "
            f"{layer} predicts: convert it with {name}.astype(jnp.int32)."
        )
    return Given(params, state, symbols, vocabulary)


def _check_symbols(symbols: Any, name: str, layout: str) -> Any:
    symbols = _check.as_arrays(symbols, name, f"give an array of integers {layout}")
    if not hasattr(symbols, "dtype") or not jnp.issubdtype(symbols.dtype, jnp.integer):
        kind = getattr(symbols, "dtype", type(symbols).__name__)
        raise TypeError(f"{name} is {kind}: give symbols, integers {layout}.")
    if symbols.ndim != layout.count(",") + (layout != "(B,)") or 0 in symbols.shape:
        raise ValueError(
            f"{name} has the shape {symbols.shape}: give integers {layout} without an "
            "empty axis."
        )
    return symbols


@cached
def _vocabulary(layer: Layer, *signatures: Any) -> int:
    """The number of symbols that a layer predicts, found by tracing one step."""
    params, state, x = (structs(*s) for s in signatures)
    try:
        after, logits = jax.eval_shape(layer.step, params, state, x)
    except NotImplementedError as error:
        raise TypeError(
            f"{layer} has no `step`, but decoding feeds each symbol back as the next "
            f"input, one step at a time: give a layer that reads forwards only. ({error})"
        ) from error
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{layer} cannot take a step on a symbol, a scalar of {x.dtype}: "
            f"{str(error).splitlines()[0]} Give a layer that reads symbols, such as a "
            "jaxrnn.Stack that starts with jaxrnn.Embedding."
        ) from error
    if signature(after) != signature(state):
        raise TypeError(
            f"{layer} turns a state of {state} into one of {after}, but a state must keep "
            "its shapes and dtypes: cast the parameters with jaxrnn.cast(params, dtype)."
        )
    if not hasattr(logits, "shape") or len(logits.shape) != 1 or logits.shape[0] == 0:
        raise ValueError(
            f"{layer} returns {logits} for one symbol, where logits of shape "
            "(vocabulary,) are needed: end the layer with jaxrnn.Dense(units, vocabulary)."
        )
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(
            f"{layer} returns {logits.dtype}, where logits must be real floating-point "
            "numbers."
        )
    return logits.shape[0]


def check_logits(logits: Any) -> Any:
    """Logits `(T, B, v)` as a JAX array."""
    logits = _check.as_arrays(logits, "logits", "give an array (T, B, v)")
    if not hasattr(logits, "dtype") or not jnp.issubdtype(logits.dtype, jnp.floating):
        kind = getattr(logits, "dtype", type(logits).__name__)
        raise TypeError(f"logits are {kind}: give floating-point logits (T, B, v).")
    if logits.ndim != 3 or 0 in logits.shape:
        raise ValueError(
            f"logits have the shape {logits.shape}: give (T, B, v), time-major, without "
            "an empty axis. For a sequence without frames, give a length of 0."
        )
    return logits


def check_count(name: str, value: Any, largest: int | None = None) -> int:
    """An integer of at least 1, and at most `largest`."""
    count = _as_int(name, value)
    if count < 1:
        raise ValueError(f"{name}={value!r}: give an integer of at least 1.")
    if largest is not None and count > largest:
        raise ValueError(
            f"{name}={value!r}, but there are only {largest} symbols: give an integer from "
            f"1 to {largest}, or None for no limit."
        )
    return count


def check_symbol(name: str, value: Any, vocabulary: int) -> int:
    """One symbol of the vocabulary, as a Python integer."""
    symbol = _as_int(name, value)
    if not 0 <= symbol < vocabulary:
        raise ValueError(
            f"{name}={value!r}, but the logits are for {vocabulary} symbols: give an "
            f"integer from 0 to {vocabulary - 1}."
        )
    return symbol


def _as_int(name: str, value: Any) -> int:
    if isinstance(value, jax.core.Tracer):
        raise TypeError(
            f"{name} is a traced value, but it must be known when the program is compiled: "
            "give a Python integer, and make it a static argument of jax.jit."
        )
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"{name}={value!r}: give an integer, not a {kind}.") from None


def check_number(
    name: str, value: Any, inside: Callable[[float], bool], hint: str
) -> Any:
    """A real scalar as an array; its range is checked where the value is known."""
    kinds = int | float | np.generic | np.ndarray | jax.Array
    if isinstance(value, bool) or not isinstance(value, kinds) or jnp.ndim(value):
        raise TypeError(f"{name}={_check.described(value)}: {hint}")
    if jnp.result_type(value).kind not in "iufV":
        raise TypeError(f"{name} is {jnp.result_type(value)}: {hint}")
    if not isinstance(value, jax.core.Tracer):
        number = float(value)
        if not (math.isfinite(number) and inside(number)):
            raise ValueError(f"{name}={value!r}: {hint}")
    return jnp.asarray(value, float)
