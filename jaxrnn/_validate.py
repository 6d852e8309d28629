"""Checks of the arguments of a layer, at construction."""

import operator
from typing import Any


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
