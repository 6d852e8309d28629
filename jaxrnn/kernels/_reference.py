"""What every kernel of a layer computes, slowly: the specification that it is tested against.

    z_t = x_t W + b
    h_t, c_t = step(z_t, state_{t-1}, U, b_n)

A step that is reset begins at `start`; a step that is not valid keeps the state that it
begins at, and its output is zero. `step` is each cell's own, in `<op>/reference.py`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Operands(NamedTuple):
    """The arrays of one layer: G gates of H units, side by side."""

    x: Float[Array, "T B I"]
    state: tuple[Float[Array, "B H"], ...]
    start: tuple[Float[Array, "H"], ...]
    w: Float[Array, "I GH"]
    u: Float[Array, "..."]
    b: Float[Array, "GH"]
    b_n: Float[Array, "H"] | None


class Marks(NamedTuple):
    """Which steps run, and which of them begin anew; None for all, and for none."""

    valid: Bool[Array, "T B"] | None = None
    reset: Bool[Array, "T B"] | None = None


Step = Callable[[Any, tuple[Array, ...], Array, Array | None], tuple[Array, ...]]


def layer(step: Step, operands: Operands, marks: Marks) -> tuple[Array, tuple]:
    """`(ys, state)` by one `lax.scan`, with all of JAX's derivatives."""

    def body(state, inputs):
        x, valid, reset = inputs
        z = x @ operands.w + operands.b[None]
        begin = _where(reset, operands.start, state)
        after = step(z, begin, operands.u, operands.b_n)
        y = after[0] if valid is None else jnp.where(valid[:, None], after[0], 0)
        return after if valid is None else _where(valid, after, begin), y

    state, ys = jax.lax.scan(body, operands.state, (operands.x, *marks))
    return ys, state


def _where(mask: Array | None, yes: tuple, no: tuple) -> tuple:
    if mask is None:
        return no
    return tuple(
        jnp.where(mask[:, None], jnp.broadcast_to(y, n.shape), n)
        for y, n in zip(yes, no, strict=True)
    )
