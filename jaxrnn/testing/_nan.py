"""The law of NaN: planted numbers that are not finite stay within their own sequence part."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._layer import Layer
from ..strategies import Scan
from ._by_steps import by_steps, has_step, outputs_like
from ._case import (
    TOLERANCE,
    Case,
    case_of,
    cotangents,
    is_float,
    label_of,
    make_options,
    unrolled,
)
from ._compare import assert_close, assert_finite_alike


def check_nan(layer: Layer, **how: Any) -> None:
    """Checks that NaN and infinity pass neither a reset nor the end of a sequence.

    They are planted in the input of a step, in a given state, and in the cotangents of an
    output and of the last state. Results and gradients are then finite exactly where single
    steps give finite numbers, and equal them there. NaN in a state that a reset replaces, or
    in the padding, changes nothing at all.

    Args:
        layer: any layer.
        **how: `x` and `seed` as for `check_cell`; `strategy`; `batch`, at least 4; `time`,
            at least 6.

    Raises:
        LawBroken: with the planted number, the place, and the number found there.

    Example:
        >>> import jaxrnn
        >>> jaxrnn.testing.check_nan(jaxrnn.MGU(3, 4))
    """
    strategy = how.pop("strategy", Scan())
    with jax.enable_x64(True), np.errstate(all="ignore"):
        case = case_of(layer, how)
        options = make_options(case, ("lengths", "resets"))
        weights = cotangents(case.seed, outputs_like(case))
        label = label_of(case, strategy)
        how = {"options": options, "strategy": strategy}
        clean = unrolled(case, weights, **how)
        hidden = _behind_cuts(case, weights, options)
        got = unrolled(*hidden, **how)
        assert_close("NaN behind a cut", label, got, clean, TOLERANCE)
        for name, planted in _plants(case, weights):
            got = unrolled(*planted, **how)
            want = by_steps(*planted, options=options)
            assert_finite_alike(name, label, got, want, TOLERANCE)


def _behind_cuts(case: Case, weights: Any, options: dict) -> tuple[Case, Any]:
    """The case with NaN wherever nothing may read: states before a reset, and the padding."""
    padding = np.arange(case.time)[:, None] >= options["lengths"][None]
    cut = options["resets"][0] & (options["lengths"] > 0)
    if not has_step(case):
        cut = np.zeros_like(cut)  # backwards, the given state enters at the end
    spoiled = dataclasses.replace(
        case,
        state=_planted(case.state, cut, np.nan),
        xs=_planted(case.xs, padding, np.nan),
    )
    return spoiled, (weights[0], _planted(weights[1], padding, np.nan))


def _plants(case: Case, weights: Any) -> Iterator[tuple[str, tuple[Case, Any]]]:
    """One bad number at a time.

    Sequence 0 is of full length and has a reset in its middle; sequence 3 is short.
    """
    middle = case.time // 2
    replace: Callable = dataclasses.replace
    for value in (np.nan, np.inf):
        xs = _planted(case.xs, (middle - 2, 0), value)
        yield f"{value} in an input", (replace(case, xs=xs), weights)
        state = _planted(case.state, 3, value)
        yield f"{value} in the given state", (replace(case, state=state), weights)
        ys = _planted(weights[1], (middle + 1, 0), value)
        yield f"{value} in the cotangent of an output", (case, (weights[0], ys))
    last = _planted(weights[0], 3, np.nan)
    yield "nan in the cotangent of the last state", (case, (last, weights[1]))


def _planted(tree: Any, index: Any, value: float) -> Any:
    """The tree, with `value` at `index` of each float leaf."""

    def planted(leaf):
        if not is_float(leaf):
            return leaf
        leaf = np.array(leaf)
        leaf[index] = value
        return jnp.asarray(leaf)

    return jax.tree.map(planted, tree)
