"""Beam search with length normalization."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Integer

from .._layer import Layer
from .._sharding import aligned
from .._typing import Batched
from ._checks import check_count, check_decoder, check_number, check_symbol
from ._common import Beams, at_least_float32


def beam_search(
    layer: Layer,
    params: Any,
    state: Batched | None,
    start: Integer[Array, "B"],
    *,
    width: int,
    steps: int,
    stop: int | None,
    length_penalty: Any = 0.0,
) -> Beams:
    """Searches for the sequences of the highest score, keeping `width` at every step.

        score = log p(symbols) / ((5 + n) / 6)^length_penalty

    n is the number of symbols, the stop symbol included. At every step, the extensions of
    all sequences that have not ended and the sequences that have ended compete by score.
    A `width` of 1 gives the symbols of `greedy`. Sequences that have not ended after
    `steps` symbols are results as well. The loop ends early once no result can change.

    Args:
        layer, params, state, start: as for `greedy`.
        width: the number of sequences to keep.
        steps: N, the largest number of symbols, the stop symbol included.
        stop: the symbol that ends a sequence; None if sequences do not end.
        length_penalty: a number of at least 0, which may be traced. 0 ranks by
            log-probability, which favors short sequences; a larger one favors long ones.

    Returns:
        `Beams`: symbols `(N, B, width)`, lengths and scores `(B, width)`, the best first.

    Raises:
        TypeError, ValueError: if an argument is invalid, or if the layer has no `step`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> model = jaxrnn.Stack(
        ...     (jaxrnn.Embedding(27, 8), jaxrnn.GRU(8, 16), jaxrnn.Dense(16, 27))
        ... )
        >>> params = model.init(jax.random.key(0))
        >>> beams = jaxrnn.decode.beam_search(
        ...     model, params, None, jnp.zeros(2, int), width=4, steps=10, stop=0
        ... )
        >>> best = beams.symbols[:, :, 0]  # (N, B)
        >>> bool((beams.scores[:, 0] >= beams.scores[:, 1]).all())
        True

    Reference: Wu et al. 2016, arXiv:1609.08144.
    """
    given = check_decoder(layer, params, state, start, "start", "(B,)")
    width, steps = check_count("width", width), check_count("steps", steps)
    stop = None if stop is None else check_symbol("stop", stop, given.vocabulary)
    hint = "give a number of at least 0."
    alpha = check_number("length_penalty", length_penalty, lambda a: a >= 0, hint)
    return _beam_search(layer, given[:3], alpha, width=width, steps=steps, stop=stop)


class _Beam(NamedTuple):
    """The sequences of one entry of the batch; `state` has leaves `(width, ...)`."""

    state: Any
    symbols: Integer[Array, "N width"]
    last: Integer[Array, "width"]
    log_p: Array
    n: Integer[Array, "width"]  # the number of symbols, with the stop symbol
    ended: Array


@partial(jax.jit, static_argnames=("width", "steps", "stop"))
def _beam_search(layer, given, alpha, *, width, steps, stop):
    params, state, start = given
    advance = partial(_advance, layer, params, alpha, stop)

    def running(carry):
        t, beam = carry
        # a sequence of probability 0 has no extension of a higher one
        final = beam.ended | (beam.log_p == -jnp.inf)
        return (t < steps) & ~jnp.all(final)

    def body(carry):
        t, beam = carry
        return t + 1, jax.vmap(advance, in_axes=(None, 0))(t, beam)

    first = jax.vmap(partial(_first, layer, params, width, steps, stop))(state, start)
    # inside shard_map, the carry must vary over the same mesh axes as the results
    first = aligned(first, params, alpha)
    _, beam = jax.lax.while_loop(running, body, (jnp.int32(0), first))
    scores = beam.log_p / _penalty(beam.n, alpha, beam.log_p.dtype)
    # there may be fewer than `width` sequences of a probability above 0
    empty = scores == -jnp.inf
    fill = jnp.full_like(beam.symbols, _fill(stop))
    symbols = jnp.where(empty[:, None, :], fill, beam.symbols)
    lengths = jnp.where(empty, 0, beam.n - beam.ended.astype(jnp.int32))
    return Beams(jnp.swapaxes(symbols, 0, 1), lengths, scores)


def _fill(stop: int | None) -> int:
    return 0 if stop is None else stop


def _first(layer, params, width, steps, stop, state, start):
    """The beam before the first step: one empty sequence of probability 1."""
    repeat = lambda x: jnp.broadcast_to(x, (width, *x.shape))
    logits = jax.eval_shape(layer.step, params, state, start)[1]
    dtype = jax.eval_shape(at_least_float32, logits).dtype
    return _Beam(
        state=jax.tree.map(repeat, state),
        symbols=jnp.full((steps, width), _fill(stop), start.dtype),
        last=repeat(start),
        log_p=jnp.where(jnp.arange(width) == 0, 0.0, -jnp.inf).astype(dtype),
        n=jnp.zeros(width, jnp.int32),
        ended=jnp.zeros(width, bool),
    )


def _advance(layer, params, alpha, stop, t, beam):
    """One step: the best `width` of all extensions and of the sequences that ended."""
    step = jax.vmap(layer.step, in_axes=(None, 0, 0))
    state, logits = step(params, beam.state, beam.last)
    log_p = jax.nn.log_softmax(at_least_float32(logits), axis=-1)
    width, vocabulary = log_p.shape
    # an ended sequence has one extension, the stop symbol with probability 1
    only_stop = jnp.where(jnp.arange(vocabulary) == stop, 0.0, -jnp.inf)
    log_p = jnp.where(beam.ended[:, None], only_stop[None].astype(log_p.dtype), log_p)
    log_p = beam.log_p[:, None] + log_p
    n = beam.n + (~beam.ended).astype(jnp.int32)

    scores = log_p / _penalty(n, alpha, log_p.dtype)[:, None]
    best = jax.lax.top_k(scores.ravel(), width)[1]
    parent, symbol = best // vocabulary, (best % vocabulary).astype(beam.last.dtype)
    return _Beam(
        state=jax.tree.map(lambda s: s[parent], state),
        symbols=beam.symbols[:, parent].at[t].set(symbol),
        last=symbol,
        log_p=log_p.ravel()[best],
        n=n[parent],
        ended=(symbol == stop) if stop is not None else beam.ended,
    )


def _penalty(n, alpha, dtype):
    """`((5 + n) / 6)^alpha` for n symbols."""
    return ((5 + n).astype(dtype) / 6) ** alpha.astype(dtype)
