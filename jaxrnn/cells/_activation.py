"""Activations with clipped inputs, as in ONNX."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from .._validate import check_callable


def clipped(
    activation: Callable[[Array], Array], clip: float | None
) -> Callable[[Array], Array]:
    """`activation` with its input clipped to [-clip, clip]; None for no bounds."""
    if clip is None:
        return activation
    return lambda v: activation(jnp.clip(v, -clip, clip))


def check_activations(cell: Any, *names: str) -> None:
    """Checks that the named fields are callable, and that `clip` is a bound or None."""
    for name in names:
        check_callable(cell, name, "give a function, such as jnp.tanh.")
    clip = cell.clip
    call = f"{type(cell).__name__}(clip={clip!r})"
    if clip is None:
        return
    if isinstance(clip, bool) or not isinstance(clip, int | float):
        raise TypeError(f"{call}: give a number, such as 3.0, or None for no bound.")
    if not clip > 0:
        raise ValueError(f"{call}: a bound must be above 0; give None for no bound.")
