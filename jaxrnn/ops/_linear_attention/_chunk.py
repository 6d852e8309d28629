"""Chunks of a matrix recurrence as matmuls.

With g_t the sum of the log decays up to step t of a chunk, the C steps of

    S_t = exp(log_decay_t) S_{t-1} + k_t u_t^T,    o_t = S_t^T q_t

are, written out (Yang et al. 2024, arXiv:2312.06635; Dao & Gu 2024, arXiv:2405.21060),

    o_t = S_0^T (exp(g_t) q_t) + sum over s <= t of (q_t . exp(g_t - g_s) k_s) u_s

Every exponent is at most 0, since s <= t: nothing overflows, however strong the decay. A
reset cuts the sum, and replaces S_0. In all arrays here, the first axis is the chunk.

The delta rule writes u_t = beta_t (v_t - S'_t^T k_t), where S'_t is the decayed state that
k_t reads. It depends on the earlier u of the chunk: one triangular system for each chunk
(Yang et al. 2024, arXiv:2406.06484 and 2412.06464),

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


_MILD = 20.0  # a log decay; exp(_MILD / 2) has a relative error of 5e-7 in float32
_TINY = 4  # the size of matrices whose product is written out
BLOCK = 16  # steps in a block, within which decays by channel are taken pair by pair


def attend(
    q: Float[Array, "N ... C k"],
    k: Float[Array, "N ... C k"],
    u: Float[Array, "N ... C v"],
    log_decay: Float[Array, "N ... C d"],
    state: Float[Array, "... k v"],
    restart: Restart | None = None,
) -> tuple[Float[Array, "... k v"], Float[Array, "N ... C v"]]:
    """The final state and the outputs of N chunks of linear attention.

    The scan over chunks only updates the state; all else is batched over the chunks.
    """
    decays = decays_of(log_decay, restart)
    kept, keys, fresh = _at_chunk_end(k, state, decays, restart)
    written = jnp.swapaxes(keys, -1, -2) @ u + fresh

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
    """The final state and the outputs of N chunks of the delta rule.

    The scan over chunks solves for u and updates the state; all else is batched over the
    chunks.
    """
    decays = decays_of(log_decay, restart)
    kept, keys, fresh = _at_chunk_end(k, state, decays, restart)
    between = _between(decays)
    written = _broadcast_columns(beta, k) * k
    earlier = jnp.tril(_overlap(written, k, decays) * between, -1)
    inverse = unit_lower_inverse(earlier)
    wanted = _broadcast_columns(beta, v) * v - _read_restart(written, decays, restart)
    reading = _reading(written, decays)

    def body(state, chunk):
        earlier, inverse, wanted, reading, kept, keys, fresh = chunk
        u = _solve(earlier, inverse, wanted - reading @ state)
        after = kept * state + jnp.swapaxes(keys, -1, -2) @ u + fresh
        return after, (state, u)

    chunks = (earlier, inverse, wanted, reading, kept, keys, fresh)
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
    """The solution x of (I + below) x = b, where `inverse` is (I + below)^-1."""
    del below
    return inverse @ b


@_solve.defjvp
def _solve_jvp(primals, tangents):
    # implicit differentiation: d_below x + (I + below) d_x = d_b. The derivative of
    # `inverse`, a function of `below`, would give the same with two more matmuls; here it
    # counts as a constant.
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

    for blocks of 1, 2, 4 ... steps. It is as stable as substitution, and uses only matmuls.
    On a CPU, `jax.lax.linalg.triangular_solve` waits for threads of the pool that it runs
    on, so that two programs at once can deadlock.
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
        diagonal = jnp.moveaxis(jnp.diagonal(parts, axis1=-4, axis2=-2), -1, -3)
        halves = inverse.reshape(*batch, pairs, 2, block, block)
        first, second = halves[..., 0, :, :], halves[..., 1, :, :]
        corner = -_matmul(_matmul(second, diagonal[..., block:, :block]), first)
        above = jnp.concatenate([first, jnp.zeros_like(first)], axis=-1)
        inverse = jnp.concatenate(
            [above, jnp.concatenate([corner, second], axis=-1)], axis=-2
        )
        block *= 2
    return inverse[..., 0, :steps, :steps]


def _matmul(a: Array, b: Array) -> Array:
    """`a @ b`; tiny ones are written out, since on a CPU the call costs more than the sums."""
    if a.shape[-1] > _TINY:
        return a @ b
    terms = (a[..., :, i, None] * b[..., i, None, :] for i in range(a.shape[-1]))
    return functools.reduce(jnp.add, terms)


@unit_lower_inverse.defjvp
def _unit_lower_inverse_jvp(primals, tangents):
    # d(M^-1) = -M^-1 dM M^-1; differentiating the loop would keep every block as a residual
    inverse = unit_lower_inverse(*primals)
    return inverse, -inverse @ tangents[0] @ inverse


def _reading(x: Array, decays: Decays) -> Array:
    """`x` times its decay since the start of the chunk; zero after a restart.

    A matmul with the state before the chunk gives the part of it that `x` reads.
    """
    x = _over_heads(x, decays)
    reading = x * _broadcast_columns(jnp.exp(decays.total.value()), x)
    if decays.segment is None:
        return reading
    return jnp.where((decays.segment == 0)[..., None], reading, 0)


def _read_restart(x: Array, decays: Decays, restart: Restart | None) -> Array | int:
    """The part of the restart's state that each `x_t` reads; zero before a restart."""
    if restart is None or restart.state is None:
        return 0
    x, first = _over_heads(x, decays), (decays.segment == 0)[..., None]
    since = _broadcast_columns(jnp.exp(decays.since), x)
    return jnp.where(first, 0, x * since) @ restart.state


def _read(x: Array, state: Array, decays: Decays, restart: Restart | None) -> Array:
    """The part that each `x_t` reads of the state that its chunk or segment started from."""
    return _reading(x, decays) @ state + _read_restart(x, decays, restart)


def _at_chunk_end(
    k: Array, state: Array, decays: Decays, restart: Restart | None
) -> tuple[Array, Array, Array]:
    """Decayed to the end of each chunk: the factor of the state before it, the keys, and
    the state of a restart."""
    left = jnp.exp(decays.rest)
    kept = _by_key(jnp.exp(decays.total.each(lambda x: x[..., -1:, :]).value()))
    fresh = jnp.zeros((len(k), *[1] * state.ndim), state.dtype)
    if restart is not None:
        same = decays.segment == decays.segment[..., -1:]
        left = jnp.where(same[..., None], left, 0)
        restarted = (decays.segment[..., -1] > 0)[..., None, None]
        kept = jnp.where(restarted, 0, kept)
        if restart.state is not None:
            since = _by_key(jnp.exp(decays.since[..., -1:, :]))
            fresh = jnp.where(restarted, since * restart.state, 0)
    return kept, _over_heads(k, decays) * _broadcast_columns(left, k), fresh


def _broadcast_columns(x: Array, like: Array) -> Array:
    """`(..., C, 1)` with as many columns as `like`; unchanged if it has more than one."""
    return x if x.shape[-1] > 1 else broadcast_by_matmul(x, like.shape[-1])


def _over_heads(x: Array, decays: Decays) -> Array:
    """`(..., 1, C, d)`, shared by all heads, repeated for each head."""
    heads = decays.total.fine.shape[-3]
    if x.shape[-3] == heads:
        return x
    flat = broadcast_by_matmul(x.reshape(*x.shape[:-2], -1), heads, axis=-2)
    return flat.reshape(*flat.shape[:-1], *x.shape[-2:])


def _by_key(decay: Array) -> Array:
    """`(..., 1, d)` as `(..., d, 1)`: one factor for each row of a state."""
    return jnp.swapaxes(decay, -1, -2)


def _attended(q: Array, k: Array, u: Array, decays: Decays) -> Array:
    """Sums of (q_t . exp(g_t - g_s) k_s) u_s over s <= t with no restart in between."""
    if decays.total.fine.shape[-1] == 1:
        return (_overlap(q, k, decays) * _between(decays)) @ u
    # a `cond` returns the residuals of both branches, with zeros for the one not taken;
    # under `jax.checkpoint` a branch has none but its inputs
    scores = jax.lax.cond(
        _mild(decays.total.coarse),
        jax.checkpoint(_scores_by_product),
        jax.checkpoint(_scores_chunk_by_chunk),
        q,
        k,
        decays.total,
    )
    scores = jnp.where(over(_earlier(decays), scores.ndim), scores, 0)
    # s = t: q_t . k_t, for all columns of u. It has no decay, so its gradient must not pass
    # through one. As a matmul with ones, since sums are slow on a CPU.
    ones = jnp.ones((q.shape[-1], u.shape[-1]), q.dtype)
    own = jnp.matmul(q * k, ones, precision=jax.lax.Precision.HIGHEST)
    return scores @ u + own * u


def _overlap(q: Array, k: Array, decays: Decays) -> Array:
    """`(..., C, C)`: q_t . k_s for all pairs of steps."""
    return _over_heads(q @ jnp.swapaxes(k, -1, -2), decays)


def _between(decays: Decays) -> Array:
    """`(..., C, C)`: exp(g_t - g_s) where s <= t with no restart in between, else 0."""
    size = decays.total.fine.shape[-2]
    total = Sum(decays.total.coarse, broadcast_by_matmul(decays.total.fine, size))
    between = total.since(total.each(lambda x: jnp.swapaxes(x, -1, -2)))
    earlier = over(_earlier(decays), between.ndim)
    # where s = t the exponent is the constant 0: the gradient of g_t - g_t would be a
    # difference of two equal sums, which rounding keeps from cancelling
    own = over(jnp.where(jnp.eye(size, dtype=bool), 0.0, -jnp.inf), between.ndim)
    # select the exponent, not the result: for s > t it is positive and may overflow, and
    # the gradient of a masked infinity is NaN
    return jnp.exp(jnp.where(earlier, between, own.astype(between.dtype)))


def _earlier(decays: Decays) -> Array:
    """`(..., C, C)`: whether s < t with no restart in between."""
    size = decays.total.fine.shape[-2]
    earlier = jnp.tril(jnp.ones((size, size), bool), -1)
    if decays.segment is None:
        return earlier
    same = decays.segment[..., :, None] == decays.segment[..., None, :]
    return over(earlier, same.ndim) & same


@jax.custom_batching.custom_vmap
def _mild(total: Array) -> Array:
    """Whether exp(g_t - g_s) can be split into a factor of q and a factor of k."""
    return jnp.all(jnp.abs(total) < _MILD)


@_mild.def_vmap
def _mild_in_all_rows(axis_size, in_batched, total):
    # one answer for the whole vmap: with one for each call, `cond` would become a `select`,
    # which runs both branches
    del axis_size, in_batched
    return _mild(total), False


def _scores_by_product(q: Array, k: Array, total: Sum) -> Array:
    """`_scores_by_channel` as one matmul: (q_t exp(g_t - m)) . (exp(m - g_s) k_s)."""
    # m cancels, so any value and no derivative will do; the middle keeps both factors small
    middle = total.coarse[..., -1:, :] / 2
    half = (total.coarse - middle) + total.fine
    return (q * jnp.exp(half)) @ jnp.swapaxes(k * jnp.exp(-half), -1, -2)


def _scores_chunk_by_chunk(q: Array, k: Array, total: Sum) -> Array:
    # one chunk at a time: the temporaries are many times larger than the scores
    each = jax.checkpoint(lambda chunk: _scores_by_channel(*chunk))
    return jax.lax.map(each, (q, k, total))


def _scores_by_channel(q: Array, k: Array, total: Sum) -> Array:
    """The scores q_t . exp(g_t - g_s) k_s, `(..., C, C)`, with a decay for each channel.

    Entries with s >= t are unspecified. Between two blocks of steps the decay has three
    factors, each at most 1: from the earlier step to the end of its block, from there to
    the start of the later block, and on to the later step. Within a block it is computed
    for each pair of steps.
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
    """`(..., C, d)` as `(..., count, BLOCK, d)`; the last step is repeated to fill up."""
    pad = count * BLOCK - x.shape[-2]
    widths = [(0, 0)] * (x.ndim - 2) + [(0, pad), (0, 0)]
    return jnp.pad(x, widths, mode="edge").reshape(
        *x.shape[:-2], count, BLOCK, x.shape[-1]
    )
