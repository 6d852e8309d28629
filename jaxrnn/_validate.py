"""Checks of the numbers that layers are made of, at construction."""

import operator
from typing import Any


def check_sizes(layer: Any, *names: str) -> None:
    """Each named field is an integer of at least 1."""
    for name in names:
        value = getattr(layer, name)
        call = f"{type(layer).__name__}({name}={value!r})"
        if isinstance(value, bool):
            raise TypeError(f"{call}: a size is an integer, not a boolean.")
        try:
            size = operator.index(value)
        except TypeError:
            raise TypeError(
                f"{call}: a size is an integer, but this is a {type(value).__name__}."
            ) from None
        if size < 1:
            raise ValueError(f"{call}: a size is at least 1.")


def check_rate(owner: str, value: Any) -> None:
    """A probability of dropping: a number from 0 up to, not including, 1."""
    call = f"{owner}(rate={value!r})"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{call}: a rate is a number, such as 0.5.")
    if not 0 <= value < 1:
        raise ValueError(f"{call}: a rate is at least 0 and below 1.")


def check_kind(
    owner: Any, name: str, value: Any, kind: type | tuple, hint: str
) -> None:
    """A field is of a kind; `hint` says what to give."""
    if not isinstance(value, kind):
        raise TypeError(f"{type(owner).__name__}({name}={value!r}): {hint}")


def check_callable(owner: Any, name: str, hint: str, method: str = "__call__") -> None:
    """A field can be called, or has the method that is called; `hint` says what to give."""
    value = getattr(owner, name)
    if not callable(getattr(value, method, None)) or isinstance(value, type):
        raise TypeError(f"{type(owner).__name__}({name}={value!r}): {hint}")


def check_between(cell: Any, name: str, low: int | float, high: int | float) -> None:
    """A field is a number from `low` to `high`."""
    value = getattr(cell, name)
    call = f"{type(cell).__name__}({name}={value!r})"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{call}: `{name}` is a number.")
    if not low <= value <= high or low == high:
        raise ValueError(f"{call}: `{name}` is a number from {low:.4g} to {high:.4g}.")


def check_heads(cell: Any, name: str) -> None:
    """A size is a multiple of the number of heads."""
    size = getattr(cell, name)
    if size % cell.heads:
        raise ValueError(
            f"{type(cell).__name__}({name}={size}, heads={cell.heads}): the heads share "
            "the units evenly; give a multiple."
        )
