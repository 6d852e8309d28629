"""Checks that the whole library shares: of the fields of a layer, of arrays and lengths."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def check_sizes(layer: Any, *names: str) -> None:
    """Checks that each named field is an integer of at least 1."""
    for name in names:
        value = getattr(layer, name)
        call = f"{type(layer).__name__}({name}={value!r})"
        if isinstance(value, bool):
            raise TypeError(f"{call}: a size must be an integer, not a boolean.")
        try:
            size = operator.index(value)
        except TypeError:
            raise TypeError(
                f"{call}: a size must be an integer, not a {type(value).__name__}."
            ) from None
        if size < 1:
            raise ValueError(f"{call}: a size must be at least 1.")


def check_steps(strategy: Any, name: str, otherwise: str) -> None:
    """Checks that a field is a number of steps of at least 1, or None."""
    value = getattr(strategy, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"{type(strategy).__name__}({name}={value!r}): give a number of steps, an "
            f"integer of at least 1; or None, {otherwise}."
        )


def check_rate(owner: str, value: Any) -> None:
    """Checks that a dropout rate is a number of at least 0 and below 1."""
    call = f"{owner}(rate={value!r})"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{call}: a rate must be a number, such as 0.5.")
    if not 0 <= value < 1:
        raise ValueError(f"{call}: a rate must be at least 0 and below 1.")


def check_kind(
    owner: Any, name: str, value: Any, kind: type | tuple, hint: str
) -> None:
    """Checks the type of a field; `hint` says what to give instead."""
    if not isinstance(value, kind):
        raise TypeError(f"{type(owner).__name__}({name}={value!r}): {hint}")


def check_callable(owner: Any, name: str, hint: str, method: str = "__call__") -> None:
    """Checks that a field has `method`, but is not a class; `hint` says what to give."""
    value = getattr(owner, name)
    if not callable(getattr(value, method, None)) or isinstance(value, type):
        raise TypeError(f"{type(owner).__name__}({name}={value!r}): {hint}")


def check_between(cell: Any, name: str, low: int | float, high: int | float) -> None:
    """Checks that a field is a number from `low` to `high`, and that `low < high`."""
    value = getattr(cell, name)
    call = f"{type(cell).__name__}({name}={value!r})"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{call}: `{name}` must be a number.")
    if not low <= value <= high or low == high:
        raise ValueError(f"{call}: `{name}` must be from {low:.4g} to {high:.4g}.")


def check_heads(cell: Any, name: str) -> None:
    """Checks that a size is a multiple of the number of heads."""
    size = getattr(cell, name)
    if size % cell.heads:
        raise ValueError(
            f"{type(cell).__name__}({name}={size}, heads={cell.heads}): all heads have "
            f"equally many units; give a `{name}` that is a multiple of `heads`."
        )


def check_lengths(lengths: Any, time: Any, batch: Any, of: str = "xs") -> Any:
    """Integers `(B,)` from 0 to T; the range is checked where the values are known.

    `of` is the name of the sequences in error messages.
    """
    lengths = as_array(lengths, "lengths", "give integers, one for each sequence")
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(
            f"lengths are {lengths.dtype}: give integers, the number of valid steps of "
            "each sequence."
        )
    if lengths.shape != (batch,):
        raise ValueError(
            f"lengths have the shape {lengths.shape}, but {of} has B={batch} sequences: give "
            f"({batch},), one length for each."
        )
    if not isinstance(lengths, jax.core.Tracer):
        values = np.asarray(lengths)
        wrong = [int(v) for v in values if not 0 <= v <= time]
        if wrong:
            raise ValueError(
                f"lengths contain {wrong[:5]}, but {of} has T={time} steps: give lengths from "
                f"0 to {time}."
            )
    return jnp.asarray(lengths)


def as_array(leaf: Any, name: str, hint: str) -> Any:
    """The leaf; TypeError if it is not an array of numbers."""
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
        raise TypeError(f"{name} is or holds {described(leaf)}, not an array: {hint}.")
    if isinstance(leaf, np.ndarray) and leaf.dtype.kind not in "biufcV":
        raise TypeError(f"{name} is an array of {leaf.dtype}, not of numbers: {hint}.")
    return leaf


def described(value: Any) -> str:
    """The type and a short repr of a value, for error messages."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) < 60 else text[:57] + '...'}"
