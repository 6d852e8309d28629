"""The singular values of a matrix whose columns differ in length by any factor.

One-sided Jacobi: rotations of two columns at a time, until all are orthogonal; their lengths
are then the singular values. Unlike the usual algorithms, whose error is relative to the
largest singular value, it finds each small one to full relative accuracy, and lengths can
be kept as logarithms (Demmel & Veselic 1992, doi:10.1137/0613074).
"""

from typing import Any

import jax
import jax.numpy as jnp

from .._arrays import expand_trailing


_SWEEPS = 30
"""At most; convergence is quadratic, and 5 to 8 sweeps are usual."""


def orthogonalized(columns: jax.Array, logs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`U S` from the SVD `A = U S V^T`, for `A = [exp(logs[j]) columns[j]]_j`.

    Returns the columns of U, as the rows of an array, and log S, `(k,)`, in descending order.
    The columns of a zero singular value are zero.
    """
    k = len(logs)
    pad = k % 2  # columns rotate in pairs
    columns, logs = _normalized(columns, logs)
    columns = jnp.pad(columns, ((0, pad), (0, 0)))
    logs = jnp.pad(logs, (0, pad), constant_values=-jnp.inf)
    pairs = columns.reshape(2, -1, k), logs.reshape(2, -1)
    tolerance = k * jnp.finfo(logs.dtype).eps

    def unfinished(carry: Any) -> Any:
        sweeps, worst, _ = carry
        return (sweeps < _SWEEPS) & (worst > tolerance)

    def sweep(carry: Any) -> Any:
        sweeps, _, pairs = carry
        pairs, cosines = jax.lax.scan(
            lambda pairs, _: _rotated(*pairs), pairs, length=len(logs) - 1
        )
        return sweeps + 1, jnp.max(cosines), pairs

    start = (0, jnp.full((), jnp.inf, logs.dtype), pairs)
    _, _, (columns, logs) = jax.lax.while_loop(unfinished, sweep, start)
    columns, logs = columns.reshape(-1, k), logs.reshape(-1)
    order = jnp.argsort(-logs)[:k]
    return columns[order], logs[order]


def _rotated(columns: jax.Array, logs: jax.Array) -> tuple[Any, jax.Array]:
    """Makes the two columns of each pair orthogonal, then forms other pairs.

    `columns` is `(2, m, k)` and `logs` `(2, m)`: pairs along the first axis. With lengths
    1 and r and the cosine g, the rotation has the tangent r tau.
    """
    swap = logs[0] < logs[1]  # p is the longer column
    (p, q), (log_p, log_q) = _swapped(swap, columns), _swapped(swap, logs)
    # a column of length zero keeps it: the other one does not turn towards it
    r = jnp.where(jnp.isneginf(log_q), jnp.zeros_like(log_q), jnp.exp(log_q - log_p))
    g = jnp.sum(p * q, axis=1)
    gap = (1 - r) * (1 + r)
    size = gap + jnp.sqrt(gap**2 + 4 * (r * g) ** 2)
    tau = -2 * g / jnp.where(size == 0, jnp.ones_like(size), size)
    c = (1 / jnp.sqrt(1 + (r * tau) ** 2))[:, None]
    turned = c * (p - (r**2 * tau)[:, None] * q), c * (tau[:, None] * p + q)
    columns, logs = _normalized(jnp.stack(turned), jnp.stack([log_p, log_q]))
    # back to their places, or the round robin would miss some pairs
    pairs = _swapped(swap, columns), _swapped(swap, logs)
    return (_next_pairs(pairs[0]), _next_pairs(pairs[1])), jnp.max(jnp.abs(g))


def _swapped(swap: jax.Array, pairs: jax.Array) -> jax.Array:
    """The pairs, with the two items exchanged where `swap` is True."""
    return jnp.where(expand_trailing(swap, pairs.ndim - 1), pairs[::-1], pairs)


def _normalized(columns: jax.Array, logs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Columns of length 1 or 0, with their lengths added to the logarithms."""
    lengths = jnp.linalg.norm(columns, axis=-1)
    units = (
        columns / jnp.where(lengths == 0, jnp.ones_like(lengths), lengths)[..., None]
    )
    return units, logs + jnp.log(lengths)


def _next_pairs(v: jax.Array) -> jax.Array:
    """The next round of a round robin: all but the first item move on by one place."""
    if v.shape[1] == 1:
        return v
    first, second = v
    return jnp.stack(
        [
            jnp.concatenate([first[:1], second[:1], first[1:-1]]),
            jnp.concatenate([second[1:], first[-1:]]),
        ]
    )
