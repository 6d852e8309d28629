"""Clipping of the backward signal inside the recurrence. Graves 2013, arXiv:1308.0850."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._arrays import state_dtype
from .._layer import Cell
from .._validate import check_kind
from .._wrapper import Around


@dataclass(frozen=True)
class ClipGradient(Around):
    """A cell whose gradient by the state is clipped at every step of backpropagation.

        g_t = clip(dL/ds_t),    dL/ds_{t-1} = J_t^T g_t + dy_{t-1}

        clip(g) = g min(1, max_norm / |g|)    or    min(max(g, -max_value), max_value)

    The forward pass does not change. The gradient by the state after a step, which is the
    sum of the gradient by its output and of the one from the next step, is clipped before it
    passes through the step. So no step adds more to the gradient of a parameter than the
    limit allows. Clipping of the whole gradient, after backpropagation, is
    `optax.clip_by_global_norm`; it bounds an update, but a single step may still dominate
    it.

    The norm is taken over the whole state of one sequence, h and c of an LSTM together. The
    entries of a complex state are clipped by their modulus.

    The result is not the derivative of a function, so only backpropagation step by step is
    defined: `Scan()`, `Hoisted()`, `Checkpointed()` and `Wavefront()` run it, and on a TPU
    `Fused()`; `jax.grad`, `BPTT()` and `TBPTT()` differentiate it. Other strategies, forward
    mode and other gradient methods raise. The limit belongs to the scale of the loss:
    `BPTT()` clips after the mean over steps and sequences was taken, and `TBPTT()` before.

    Args:
        cell: the cell to wrap.
        max_norm: the largest norm of the gradient by the state, above 0.
        max_value: the largest absolute value of each of its entries, above 0.

    Raises:
        TypeError: if `cell` is not a cell, or a limit is not a number.
        ValueError: unless exactly one limit is given, above 0.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.ClipGradient(jaxrnn.LSTM(3, 4), max_value=1.0)
        >>> params = cell.init(jax.random.key(0))
        >>> def loss(state):
        ...     _, ys = jaxrnn.unroll(cell, params, jnp.ones((9, 2, 3)), state)
        ...     return 1e6 * (ys**2).sum()
        >>> zeros = jaxrnn.cells.LSTMState(jnp.zeros((2, 4)), jnp.zeros((2, 4)))
        >>> bool((jnp.abs(jax.grad(loss)(zeros).h) < 10).all())
        True

    Reference: Graves 2013, arXiv:1308.0850 (by value); Pascanu, Mikolov, Bengio 2013,
    arXiv:1211.5063 (by norm).
    """

    max_norm: float | None = None
    max_value: float | None = None

    clips_gradient: ClassVar[bool] = True
    no_kernel: ClassVar[str] = (
        "its kernels do not clip the gradient; Hoisted(), Checkpointed() and Scan() can"
    )

    def __post_init__(self):
        hint = "give one cell, such as jaxrnn.LSTM(8, 64); in a stack, wrap each cell."
        check_kind(self, "cell", self.cell, Cell, hint)
        call = f"ClipGradient(max_norm={self.max_norm!r}, max_value={self.max_value!r})"
        if (self.max_norm is None) == (self.max_value is None):
            raise ValueError(f"{call}: give exactly one of the two limits.")
        limit = self.max_value if self.max_norm is None else self.max_norm
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            raise TypeError(f"{call}: a limit must be a number, such as 1.0.")
        if not limit > 0:
            raise ValueError(f"{call}: a limit must be above 0.")

    def recur(self, params, state, z):
        leaves, structure = jax.tree.flatten(self.cell.recur(params, state, z))
        floats = [
            i for i, s in enumerate(leaves) if jnp.issubdtype(s.dtype, jnp.inexact)
        ]
        limited = _limited(self.max_norm, self.max_value, [leaves[i] for i in floats])
        for i, s in zip(floats, limited, strict=True):
            leaves[i] = s
        return jax.tree.unflatten(structure, leaves)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _limited(
    max_norm: float | None, max_value: float | None, state: list[Array]
) -> list[Array]:
    """The state itself; its gradient is clipped."""
    return state


def _forward(max_norm: Any, max_value: Any, state: Any) -> tuple[Any, None]:
    return state, None


def _backward(max_norm: Any, max_value: Any, _: None, grads: Any) -> tuple[Any]:
    if max_norm is None:
        return (jax.tree.map(partial(_by_value, max_value), grads),)
    norm = _norm(grads)
    over = norm > max_norm
    scale = jnp.where(over, max_norm / jnp.where(over, norm, 1), 1)
    return (jax.tree.map(lambda g: g * scale.astype(g.dtype), grads),)


_limited.defvjp(_forward, _backward)


def _by_value(limit: float, g: Array) -> Array:
    if not jnp.iscomplexobj(g):
        return jnp.clip(g, -limit, limit)
    size = jnp.abs(g)
    over = size > limit
    scale = jnp.where(over, limit / jnp.where(over, size, 1), 1)
    return g * scale.astype(g.dtype)


def _norm(grads: Any) -> Array:
    """The norm over all arrays, in float32 at least, without squares that overflow."""
    sizes = [jnp.abs(g).astype(state_dtype(jnp.abs(g))).reshape(-1) for g in grads]
    wide = jnp.result_type(*sizes)
    flat = jnp.concatenate([size.astype(wide) for size in sizes])
    largest = jnp.max(flat)
    some = largest > 0
    unit = flat / jnp.where(some, largest, 1)
    # the square root has no derivative at 0
    return largest * jnp.sqrt(jnp.where(some, jnp.sum(unit**2), 1))
