"""Linear attention and the delta rule over whole sequences, as public operations."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float

from ..._arrays import expand_trailing, state_dtype
from ..._autodiff._op import call
from .._checks import as_array, as_resets, check_shape, check_time
from ._fold import folded, unfolded
from ._guarded import MatrixRecurrence


OUTPUTS = "outputs of chunks"
"""The name by which a policy of `jax.checkpoint` can save the outputs. Saving them is
enough: the backward pass of chunks recomputes all else from its inputs."""

_MATRICES = 16  # chunks times matrix states that make one batched matmul


def _check(owner, q, k, v, beta, log_decay, initial, resets, size):
    q, k, v, log_decay = (
        as_array(owner, name, value)
        for name, value in zip(
            "q k v log_decay".split(), (q, k, v, log_decay), strict=True
        )
    )
    check_time(owner, "q", q)
    check_shape(owner, "k", k, q.shape)
    check_shape(owner, "v", v, (*q.shape[:-1], *v.shape[-1:]))
    by_channel = beta is None and log_decay.ndim == q.ndim
    check_shape(owner, "log_decay", log_decay, q.shape if by_channel else q.shape[:-1])
    if beta is not None:
        beta = as_array(owner, "beta", beta)
        check_shape(owner, "beta", beta, q.shape[:-1])
    if initial is not None:
        initial = as_array(owner, "initial", initial)
        check_shape(owner, "initial", initial, (*q.shape[1:], v.shape[-1]))
    resets = as_resets(owner, resets, q.shape[:-1])
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(
            f"{owner}: size is {size!r}; give the number of steps in a chunk, an integer "
            "of at least 1."
        )
    return q, k, v, beta, log_decay, initial, resets


def chunked_linear_attention(
    q: Float[Array, "T ... k"],
    k: Float[Array, "T ... k"],
    v: Float[Array, "T ... v"],
    log_decay: Float[Array, "T ..."],
    initial: Float[Array, "... k v"] | None = None,
    *,
    resets: Bool[Array, "T ..."] | None = None,
    size: int = 64,
) -> tuple[Float[Array, "... k v"], Float[Array, "T ... v"]]:
    """Linear attention with decay: a recurrence of matrices, run as matmuls over chunks.

        S_t = exp(log_decay_t) S_{t-1} + k_t v_t^T,    o_t = S_t^T q_t

    The recurrence of GLA, Mamba-2, RetNet, HGRN2 and the mLSTM. The state and the results
    are at least float32, whatever the dtypes of the inputs. A few chunks are computed
    together, and only the state before each such group is stored; the backward pass is one
    reverse scan, which recomputes the groups.

    Args:
        q: `(T, ..., k)`, such as `(T, B, heads, k)`: the queries.
        k: `(T, ..., k)`, with the shape of `q`: the keys.
        v: `(T, ..., v)`: the values.
        log_decay: `(T, ...)`, one for each state, or `(T, ..., k)`, one for each row of a
            state; at most 0.
        initial: `(..., k, v)`, the state before the first step; None for zero.
        resets: booleans over the first axes of `q`, such as `(T, B)`: True where a step
            starts from zero instead of the state before it.
        size: the number of steps in a chunk; it changes cost only.

    Returns:
        `(final, outputs)`: the state after the last step, `(..., k, v)`, and the
        outputs, `(T, ..., v)`.

    Raises:
        TypeError, ValueError: if the arrays do not match each other.

    Example:
        >>> import jax.numpy as jnp, jaxrnn
        >>> q = k = jnp.ones((4, 1)); v = jnp.ones((4, 1))
        >>> log_decay = jnp.log(jnp.full((4,), 0.5))
        >>> final, outputs = jaxrnn.ops.chunked_linear_attention(q, k, v, log_decay)
        >>> outputs[:, 0].round(4).tolist()
        [1.0, 1.5, 1.75, 1.875]

    Reference: Yang, Wang, Shen, Panda, Kim 2024, arXiv:2312.06635.
    """
    q, k, v, _, log_decay, initial, resets = _check(
        "chunked_linear_attention", q, k, v, None, log_decay, initial, resets, size
    )
    decay = log_decay if log_decay.ndim == q.ndim else log_decay[..., None]
    return _over_groups((q, k, v, decay), initial, resets, size)


def chunked_delta(
    q: Float[Array, "T ... k"],
    k: Float[Array, "T ... k"],
    v: Float[Array, "T ... v"],
    beta: Float[Array, "T ..."],
    log_decay: Float[Array, "T ..."] | None = None,
    initial: Float[Array, "... k v"] | None = None,
    *,
    resets: Bool[Array, "T ..."] | None = None,
    size: int = 64,
) -> tuple[Float[Array, "... k v"], Float[Array, "T ... v"]]:
    """The delta rule with decay: each step replaces a share beta_t of the value at key k_t.

        S_t = (I - beta_t k_t k_t^T) exp(log_decay_t) S_{t-1} + beta_t k_t v_t^T
        o_t = S_t^T q_t

    It runs over chunks in WY form, with one triangular inverse and a few matmuls for each.
    The recurrence is stable for beta_t |k_t|^2 from 0 to 2; above 1 an eigenvalue is
    negative. The state and the results are at least float32, whatever the dtypes of the
    inputs. The backward pass is one reverse scan over the chunks.

    Args:
        q: `(T, ..., k)`, such as `(T, B, heads, k)`: the queries.
        k: `(T, ..., k)`, with the shape of `q`: the keys, usually of length 1.
        v: `(T, ..., v)`: the values.
        beta: `(T, ...)`: the share of the old value that the new one replaces.
        log_decay: `(T, ...)`, one for each state, at most 0; None for no decay.
        initial: `(..., k, v)`, the state before the first step; None for zero.
        resets: booleans over the first axes of `q`, such as `(T, B)`: True where a step
            starts from zero instead of the state before it.
        size: the number of steps in a chunk; it changes cost only.

    Returns:
        `(final, outputs)`: the state after the last step, `(..., k, v)`, and the
        outputs, `(T, ..., v)`.

    Raises:
        TypeError, ValueError: if the arrays do not match each other.

    Example:
        >>> import jax.numpy as jnp, jaxrnn
        >>> q = k = jnp.ones((3, 1)); v = jnp.array([[1.0], [2.0], [3.0]])
        >>> final, outputs = jaxrnn.ops.chunked_delta(q, k, v, beta=jnp.ones(3))
        >>> outputs[:, 0].tolist()
        [1.0, 2.0, 3.0]

    Reference: Yang, Wang, Zhang, Shen, Kim 2024, arXiv:2406.06484; with decay, Yang,
    Kautz, Hatamizadeh 2025, arXiv:2412.06464.
    """
    beta = as_array("chunked_delta", "beta", beta)
    log_decay = jnp.zeros_like(beta) if log_decay is None else log_decay
    q, k, v, beta, log_decay, initial, resets = _check(
        "chunked_delta", q, k, v, beta, log_decay, initial, resets, size
    )
    columns = (q, k, v, beta[..., None], log_decay[..., None])
    return _over_groups(columns, initial, resets, size)


def _over_groups(
    arrays: tuple[Array, ...], initial: Any, resets: Any, size: int
) -> tuple[Array, Array]:
    """A scan over groups of chunks; a group has enough chunks for large matmuls."""
    q, _, v, *_ = arrays
    dtype = state_dtype(*arrays, *(() if initial is None else (initial,)))
    state = jnp.zeros((*q.shape[1:], v.shape[-1]), dtype)
    if initial is not None:
        state = initial.astype(dtype)
    if resets is not None:
        resets = jnp.broadcast_to(expand_trailing(resets, q.ndim - 1), q.shape[:-1])
    time = q.shape[0]
    size = min(size, time)
    group = size * max(1, _MATRICES // max(1, math.prod(q.shape[1:-1])))

    # only the inputs of a group are saved, in the dtype that they came in
    @jax.checkpoint
    def body(state, group):
        arrays, resets = group
        arrays = tuple(x.astype(dtype) for x in arrays)
        return over_chunks(arrays, state, resets, None, size)

    if group >= time:
        return body(state, (arrays, resets))
    groups = jax.tree.map(lambda x: folded(x, group), (arrays, resets))
    state, outputs = jax.lax.scan(body, state, groups)
    return state, unfolded(outputs, time)


def over_chunks(
    arrays: tuple[Array, ...], state: Array, resets: Any, fresh: Any, size: int
) -> tuple[Array, Array]:
    """The final state and the outputs for `arrays`, `(T, ..., d)`, in chunks of `size`.

    `fresh` is the state that a step starts from after a reset; None for zero.
    """
    state, outputs = call(MatrixRecurrence(size), (arrays, state, fresh), resets)
    return state, checkpoint_name(outputs, OUTPUTS)
