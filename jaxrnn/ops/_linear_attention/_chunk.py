"""Chunks of a matrix recurrence as matrix products.

With g_t the sum of the log decays up to step t of the chunk, C steps of

    S_t = exp(log_decay_t) S_{t-1} + k_t u_t^T,    o_t = S_t^T q_t

are, written out (Yang et al. 2024, arXiv:2312.06635; Dao & Gu 2024, arXiv:2405.21060),

    o_t = S_0^T (exp(g_t) q_t) + sum over s <= t of (q_t . exp(g_t - g_s) k_s) u_s

Every exponent is at most 0, since only differences over time forwards are taken: nothing
overflows, however strong the decay. A reset cuts the sum, and replaces S_0. The first axis of
what follows is of chunks.

The delta rule writes u_t = beta_t (v_t - what k_t reads), which depends on the u before
it: one triangular system a chunk (Yang et al. 2024, arXiv:2406.06484 and 2412.06464),

    u_t + beta_t sum over s < t of (k_t . exp(g_t - g_s) k_s) u_s
        = beta_t (v_t - S_0^T (exp(g_t) k_t))
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._arrays import broadcast_by_matmul
from ..._sharding import aligned
from ._decays import Decays, Restart, Sum, decays_of, over


_MILD = 20.0  # the exponential of half of it has an error of 5e-7 in float32
_TINY = 4  # rows
BLOCK = 16  # steps between which decays by channel are taken pair by pair


def attend(
    q: Float[Array, "N ... C k"],
    k: Float[Array, "N ... C k"],
    u: Float[Array, "N ... C v"],
    log_decay: Float[Array, "N ... C d"],
    state: Float[Array, "... k v"],
    restart: Restart | None = None,
) -> tuple[Float[Array, "... k v"], Float[Array, "N ... C v"]]:
    """Chunks of linear attention, one after the other: the state after them, and the
    outputs of their steps. All but the passing on of the state is done for all at once."""
    decays = decays_of(log_decay, restart)
    kept, left, fresh = _passed(k, state, decays, restart)
    written = jnp.swapaxes(left, -1, -2) @ u + fresh

    def body(state, chunk):
        kept, written = chunk
        return kept * state + written, state

    state, before = jax.lax.scan(body, state, (kept, written))
    outputs = _read(q, before, decays, restart) + _attended(q, k, u, decays)
    return state, outputs


def attend_delta(
    q: Float[Array, "N ... C k"],
    k: Float[Array, "N ... C k"],
    v: Float[Array, "N ... C v"],
    beta: Float[Array, "N ... C 1"],
    log_decay: Float[Array, "N ... C 1"],
    state: Float[Array, "... k v"],
    restart: Restart | None = None,
) -> tuple[Float[Array, "... k v"], Float[Array, "N ... C v"]]:
    """Chunks of the delta rule, one after the other: the state after them, and the
    outputs of their steps. What does not read the state is done for all at once."""
    decays = decays_of(log_decay, restart)
    kept, left, fresh = _passed(k, state, decays, restart)
    between = _between(decays)
    written = _broadcast_columns(beta, k) * k
    earlier = jnp.tril(_overlap(written, k, decays) * between, -1)
    inverse = unit_lower_inverse(earlier)
    wanted = _broadcast_columns(beta, v) * v - _read_restart(written, decays, restart)
    reading = _reading(written, decays)

    def body(state, chunk):
        earlier, inverse, wanted, reading, kept, left, fresh = chunk
        u = _solve(earlier, inverse, wanted - reading @ state)
        after = kept * state + jnp.swapaxes(left, -1, -2) @ u + fresh
        return after, (state, u)

    chunks = (earlier, inverse, wanted, reading, kept, left, fresh)
    state, (before, u) = jax.lax.scan(body, state, chunks)
    scores = _overlap(q, k, decays) * between
    outputs = _read(q, before, decays, restart) + scores @ u
    return state, outputs


@jax.custom_jvp
def _solve(
    below: Float[Array, "... C C"],
    inverse: Float[Array, "... C C"],
    b: Float[Array, "... C v"],
) -> Float[Array, "... C v"]:
    """The x for which (I + below) x = b, by the inverse, which `below` decides."""
    del below
    return inverse @ b


@_solve.defjvp
def _solve_jvp(primals, tangents):
    # without the derivative of the inverse, which takes two more products
    below, inverse, b = primals
    d_below, _, d_b = tangents
    x = _solve(below, inverse, b)
    return x, _solve(below, inverse, d_b - d_below @ x)


@jax.custom_jvp
def unit_lower_inverse(
    below: Float[Array, "... C C"],
) -> Float[Array, "... C C"]:
    """The inverse of I + `below`, which is zero on and above the diagonal.

        inverse of [[A, 0], [L, B]] = [[A', 0], [-B' L A', B']],    A' and B' inverses

    for blocks of 1, 2, 4 ... steps: as stable as substitution, and matrix products alone.
    `jax.lax.linalg.triangular_solve` waits on CPU for threads of the very pool that it runs
    on, and two programs at once can wait for each other for ever.
    """
    steps = below.shape[-1]
    size = 1
    while size < steps:
        size *= 2
    pad = [(0, 0)] * (below.ndim - 2) + [(0, size - steps)] * 2
    below, batch = jnp.pad(below, pad), below.shape[:-2]
    inverse = aligned(jnp.ones((*batch, size, 1, 1), below.dtype), below)
    block = 1
    while block < size:
        pairs = size // (2 * block)
        parts = below.reshape(*batch, pairs, 2 * block, pairs, 2 * block)
        own = jnp.moveaxis(jnp.diagonal(parts, axis1=-4, axis2=-2), -1, -3)
        apart = inverse.reshape(*batch, pairs, 2, block, block)
        first, second = apart[..., 0, :, :], apart[..., 1, :, :]
        corner = -_product(_product(second, own[..., block:, :block]), first)
        above = jnp.concatenate([first, jnp.zeros_like(first)], axis=-1)
        inverse = jnp.concatenate(
            [above, jnp.concatenate([corner, second], axis=-1)], axis=-2
        )
        block *= 2
    return inverse[..., 0, :steps, :steps]


def _product(a: Array, b: Array) -> Array:
    """`a @ b`. A tiny one is written out: on CPU a call takes longer than the product."""
    if a.shape[-1] > _TINY:
        return a @ b
    terms = (a[..., :, i, None] * b[..., i, None, :] for i in range(a.shape[-1]))
    return functools.reduce(jnp.add, terms)


@unit_lower_inverse.defjvp
def _unit_lower_inverse_jvp(primals, tangents):
    inverse = unit_lower_inverse(*primals)
    return inverse, -inverse @ tangents[0] @ inverse


def _reading(x: Array, decays: Decays) -> Array:
    """`x` as it reads the state before its chunk; zero where a restart lies between."""
    x = _over_heads(x, decays)
    reading = x * _broadcast_columns(jnp.exp(decays.total.value()), x)
    if decays.segment is None:
        return reading
    return jnp.where((decays.segment == 0)[..., None], reading, 0)


def _read_restart(x: Array, decays: Decays, restart: Restart | None) -> Array | int:
    """What each `x_t` reads of the state that it restarted from."""
    if restart is None or restart.state is None:
        return 0
    x, first = _over_heads(x, decays), (decays.segment == 0)[..., None]
    since = _broadcast_columns(jnp.exp(decays.since), x)
    return jnp.where(first, 0, x * since) @ restart.state


def _read(x: Array, state: Array, decays: Decays, restart: Restart | None) -> Array:
    """What each `x_t` reads of the state that its step started from."""
    return _reading(x, decays) @ state + _read_restart(x, decays, restart)


def _passed(
    k: Array, state: Array, decays: Decays, restart: Restart | None
) -> tuple[Array, Array, Array]:
    """What is left after each chunk: of the state before it, as a factor; of its keys;
    and of the state that it restarted from."""
    left = jnp.exp(decays.rest)
    kept = _by_key(jnp.exp(decays.total.each(lambda x: x[..., -1:, :]).value()))
    fresh = jnp.zeros((len(k), *[1] * state.ndim), state.dtype)
    if restart is not None:
        same = decays.segment == decays.segment[..., -1:]
        left = jnp.where(same[..., None], left, 0)
        anew = (decays.segment[..., -1] > 0)[..., None, None]
        kept = jnp.where(anew, 0, kept)
        if restart.state is not None:
            since = _by_key(jnp.exp(decays.since[..., -1:, :]))
            fresh = jnp.where(anew, since * restart.state, 0)
    return kept, _over_heads(k, decays) * _broadcast_columns(left, k), fresh


def _broadcast_columns(x: Array, like: Array) -> Array:
    """`(..., C, 1)` with as many columns as `like`; `x` itself if it has them."""
    return x if x.shape[-1] > 1 else broadcast_by_matmul(x, like.shape[-1])


def _over_heads(x: Array, decays: Decays) -> Array:
    """`(..., 1, C, d)`, which all heads share, once for each of them."""
    heads = decays.total.fine.shape[-3]
    if x.shape[-3] == heads:
        return x
    flat = broadcast_by_matmul(x.reshape(*x.shape[:-2], -1), heads, axis=-2)
    return flat.reshape(*flat.shape[:-1], *x.shape[-2:])


def _by_key(decay: Array) -> Array:
    """`(..., 1, d)` as `(..., d, 1)`: one factor for each row of a state."""
    return jnp.swapaxes(decay, -1, -2)


def _attended(q: Array, k: Array, u: Array, decays: Decays) -> Array:
    """Sums of q_t . exp(g_t - g_s) k_s u_s over s <= t, where no restart is between."""
    if decays.total.fine.shape[-1] == 1:
        return (_overlap(q, k, decays) * _between(decays)) @ u
    # under checkpoints, so that the branch not taken leaves no residuals to fill
    scores = jax.lax.cond(
        _mild(decays.total.coarse),
        jax.checkpoint(_scores_by_product),
        jax.checkpoint(_scores_chunk_by_chunk),
        q,
        k,
        decays.total,
    )
    scores = jnp.where(over(_earlier(decays), scores.ndim), scores, 0)
    # a step's own: q_t . k_t, for every value; it has no decay, and none of its derivative
    ones = jnp.ones((q.shape[-1], u.shape[-1]), q.dtype)
    own = jnp.matmul(q * k, ones, precision=jax.lax.Precision.HIGHEST)
    return scores @ u + own * u


def _overlap(q: Array, k: Array, decays: Decays) -> Array:
    """`(..., C, C)`: q_t . k_s."""
    return _over_heads(q @ jnp.swapaxes(k, -1, -2), decays)


def _between(decays: Decays) -> Array:
    """`(..., C, C)`: exp(g_t - g_s) where s <= t and no restart is between, else 0."""
    size = decays.total.fine.shape[-2]
    total = Sum(decays.total.coarse, broadcast_by_matmul(decays.total.fine, size))
    between = total.since(total.each(lambda x: jnp.swapaxes(x, -1, -2)))
    earlier = over(_earlier(decays), between.ndim)
    # a constant where s = t: the derivative would be a difference of two equal sums
    own = over(jnp.where(jnp.eye(size, dtype=bool), 0.0, -jnp.inf), between.ndim)
    # the exponent, not the result: exp of a positive one may be infinite
    return jnp.exp(jnp.where(earlier, between, own.astype(between.dtype)))


def _earlier(decays: Decays) -> Array:
    """`(..., C, C)`: whether s < t, and no restart is between."""
    size = decays.total.fine.shape[-2]
    earlier = jnp.tril(jnp.ones((size, size), bool), -1)
    if decays.segment is None:
        return earlier
    same = decays.segment[..., :, None] == decays.segment[..., None, :]
    return over(earlier, same.ndim) & same


@jax.custom_batching.custom_vmap
def _mild(total: Array) -> Array:
    """Whether the decay of a chunk can be taken apart, into a factor of q and one of k."""
    return jnp.all(jnp.abs(total) < _MILD)


@_mild.def_vmap
def _mild_in_all_rows(axis_size, in_batched, total):
    # one answer for all of them: with one each, both branches would run
    del axis_size, in_batched
    return _mild(total), False


def _scores_by_product(q: Array, k: Array, total: Sum) -> Array:
    """As `_scores_by_channel`, as one product: (q_t exp(g_t - m)) . (exp(m - g_s) k_s)."""
    # any m will do: it has no derivative
    middle = total.coarse[..., -1:, :] / 2
    half = (total.coarse - middle) + total.fine
    return (q * jnp.exp(half)) @ jnp.swapaxes(k * jnp.exp(-half), -1, -2)


def _scores_chunk_by_chunk(q: Array, k: Array, total: Sum) -> Array:
    # its temporaries are many times the size of the scores
    each = jax.checkpoint(lambda chunk: _scores_by_channel(*chunk))
    return jax.lax.map(each, (q, k, total))


def _scores_by_channel(q: Array, k: Array, total: Sum) -> Array:
    """The scores where every channel has a decay of its own; those of pairs s >= t are
    unspecified.

    Between blocks of steps the decay has three factors, each at most 1: from the earlier
    step to the end of its block, from there to the start of the later block, and on to the
    later step. Inside a block it is taken pair by pair.
    """
    size = q.shape[-2]
    count = -(-size // BLOCK)
    q, k = (_blocked(x, count) for x in (q, k))
    total = total.each(lambda x: _blocked(x, count))
    between = total.each(lambda x: x[..., :, None, :]).since(
        total.each(lambda x: x[..., None, :, :])
    )
    within = jnp.tril(jnp.ones((BLOCK, BLOCK), bool), -1)[..., None]
    left = jnp.exp(jnp.where(over(within, between.ndim), between, -jnp.inf))
    inside = jnp.einsum("...ntd,...nsd,...ntsd->...nts", q, k, left)

    end = total.each(lambda x: x[..., -1, :])
    first = lambda x: jnp.zeros_like(x[..., :1, :])
    start = end.each(lambda x: jnp.concatenate([first(x), x[..., :-1, :]], axis=-2))
    row = lambda x: x[..., None, :]
    late = q * jnp.exp(total.since(start.each(row)))
    early = k * jnp.exp(end.each(row).since(total))
    gap = start.each(row).since(end.each(lambda x: x[..., None, :, :]))
    earlier = over(jnp.tril(jnp.ones((count, count), bool), -1)[..., None], gap.ndim)
    across = jnp.exp(jnp.where(earlier, gap, -jnp.inf))
    far = across[..., :, :, None, :] * early[..., None, :, :, :]
    scores = jnp.einsum("...ntd,...nmsd->...ntms", late, far)
    own = jnp.eye(count, dtype=scores.dtype)[:, None, :, None]
    scores = scores + over(own, scores.ndim) * inside[..., :, :, None, :]
    whole = (*scores.shape[:-4], count * BLOCK, count * BLOCK)
    return scores.reshape(whole)[..., :size, :size]


def _blocked(x: Array, count: int) -> Array:
    """`(..., C, d)` as `(..., count, BLOCK, d)`, the last step repeated to fill it."""
    pad = count * BLOCK - x.shape[-2]
    widths = [(0, 0)] * (x.ndim - 2) + [(0, pad), (0, 0)]
    return jnp.pad(x, widths, mode="edge").reshape(
        *x.shape[:-2], count, BLOCK, x.shape[-1]
    )
