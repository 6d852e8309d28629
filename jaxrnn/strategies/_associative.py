"""Linear recurrences as an associative scan, parallel over time."""

from dataclasses import dataclass
from typing import Any

import jax

from .._arrays import state_dtype
from .._layer import Cell, LinearCell, over_time_and_batch
from ..ops._diag_scan import Loop, linear_recurrence, parallel
from ._base import Refused, Strategy
from ._masked import resets_of


@dataclass(frozen=True)
class Associative(Strategy):
    """Runs all steps of a linear recurrence as one associative scan.

        (a_2, b_2) after (a_1, b_1)  =  (a_2 a_1, a_2 b_1 + b_2)

    It takes about 2 log2 T passes over memory instead of T steps, for devices on which
    every step costs a kernel launch. A CPU is limited by passes over memory: there,
    `jax.lax.associative_scan` took 3 to 7 times as long as `diag_scan`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.MinGRU(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> xs = jnp.ones((5, 2, 3))
        >>> state, ys = jaxrnn.unroll(cell, params, xs, strategy=jaxrnn.Associative())
        >>> ys.shape
        (5, 2, 4)

    Reference: Blelloch 1990, CMU-CS-90-190; Martin & Cundy 2018, arXiv:1709.04057.
    """

    def check(self, cell, params, state, xs):
        if not isinstance(cell, LinearCell):
            raise Refused(self, cell, "it is not a LinearCell")

    def run(self, cell, params, state, zs):
        return run_linear(cell, params, state, zs, parallel)


def run_linear(
    cell: Cell, params: Any, state: Any, zs: Any, loop: Loop | None = None
) -> tuple[Any, Any]:
    """Computes the coefficients of all steps at once, then runs the recurrence alone.

    `loop` is the implementation of the recurrence; None chooses it by platform.
    """
    assert isinstance(cell, LinearCell)
    decays, inputs = over_time_and_batch(cell.coefficients, params, zs)

    def run(a, b, start):
        dtype = state_dtype(a, b, start)
        a, b, first = (x.astype(dtype) for x in (a, b, start))
        states = linear_recurrence(a, b, first, resets_of(zs), loop=loop)
        return states.astype(start.dtype)

    states = jax.tree.map(run, decays, inputs, state)
    return jax.tree.map(lambda s: s[-1], states), states
