"""The run-time type checker of the tests."""

from collections.abc import Callable
from typing import TypeVar

from beartype import beartype


F = TypeVar("F", bound=Callable)


def checker(fn: F) -> F:
    """beartype on every signature but constructors, which refuse in words of their own."""
    return fn if fn.__name__ in ("__init__", "__new__") else beartype(fn)
