"""Comparison of pytrees; an error says which law is broken, where, and by how much."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class LawBroken(AssertionError):
    """A layer or a strategy breaks a law of the library."""


def assert_close(law: str, case: str, got: Any, want: Any, tolerance: float) -> None:
    """Asserts that two trees agree, leaf by leaf.

    The largest error of a leaf is at most `tolerance` times the largest entry of `want`, or
    times 1 if that is larger. Structure, shapes and dtypes must be equal; NaN equals nothing.

    Args:
        law: the name of the law, for the message.
        case: a description of the case, for the message.
        got, want: pytrees of arrays.
        tolerance: the relative error that is allowed.

    Raises:
        LawBroken: with the law, the place, and by how much.
    """
    given: Any = jax.tree.structure(got)
    right: Any = jax.tree.structure(want)
    if given != right:
        raise LawBroken(
            f"{law}: {case}: the structure is {given}, but should be {right}."
        )
    for (path, a), b in zip(
        jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True
    ):
        _assert_leaf_close(law, f"{case}: {_name(path)}", a, b, tolerance)


def _host(leaf: Any) -> np.ndarray:
    """A leaf as a NumPy array; a typed key as its data."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def _name(path: tuple[Any, ...]) -> str:
    text = jax.tree_util.keystr(path, simple=True, separator=".")
    return text or "the value"


def _assert_leaf_close(law: str, what: str, a: Any, b: Any, tolerance: float) -> None:
    a, b = _host(a), _host(b)
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        raise LawBroken(
            f"{law}: {what} is {a.shape} {a.dtype}, but should be {b.shape} {b.dtype}."
        )
    if a.size == 0:
        return
    kind = np.complex128 if np.iscomplexobj(a) else np.float64
    error = np.abs(a.astype(kind) - b.astype(kind))
    scale = max(1.0, float(np.nanmax(np.abs(b.astype(kind)))))
    worst = np.unravel_index(
        np.argmax(np.where(np.isnan(error), np.inf, error)), a.shape
    )
    if not error[worst] <= tolerance * scale:
        raise LawBroken(
            f"{law}: {what} is off by {error[worst] / scale:.2g} of its size (at "
            f"{tuple(map(int, worst))}: {a[worst]} instead of {b[worst]}); "
            f"at most {tolerance:.2g} is allowed."
        )


def assert_finite_alike(
    law: str, case: str, got: Any, want: Any, tolerance: float
) -> None:
    """Asserts that `got` is finite exactly where `want` is, and close to it there."""
    for (path, a), b in zip(
        jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True
    ):
        a, b = _host(a), _host(b)
        differ = np.isfinite(a) != np.isfinite(b)
        if np.any(differ):
            place = tuple(map(int, np.argwhere(differ)[0]))
            raise LawBroken(
                f"{law}: {case}: {_name(path)} at {place} is {a[place]}, but should be "
                f"{b[place]}."
            )
    finite = lambda leaf: np.where(np.isfinite(_host(leaf)), _host(leaf), 0)
    got, want = jax.tree.map(finite, (got, want))
    assert_close(law, case, got, want, tolerance)
