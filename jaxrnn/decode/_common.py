"""The results of decoding, and the loop that greedy decoding and sampling share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer

from .._arrays import expand_trailing, state_dtype
from .._layer import Layer
from .._sharding import aligned


class Decoded(NamedTuple):
    """Sequences of symbols, one for each entry of the batch.

    Attributes:
        symbols: the symbols, in the dtype of `start`. After the first stop symbol of a
            sequence, all further ones are the stop symbol.
        lengths: the number of symbols before the first stop symbol; N without one.
        log_probs: `log softmax(logits)[symbol]`, the log-probability of each symbol under
            the layer; 0 after the first stop symbol. The sum over steps is the
            log-probability of the sequence with its stop symbol.
        state: the state after the layer read all symbols up to and without the last one; a
            sequence that ended keeps the state that predicted its stop symbol. So
            `start=symbols[-1]` with this state continues every sequence.
    """

    symbols: Integer[Array, "N B"]
    lengths: Int[Array, "B"]
    log_probs: Float[Array, "N B"]
    state: Any


class Beams(NamedTuple):
    """The best sequences of a beam search, for each entry of the batch; the best is first.

    Attributes:
        symbols: the symbols; those past the end are the stop symbol, or the blank for CTC.
        lengths: the number of symbols of each sequence, without the stop symbol.
        scores: the score of each sequence, in descending order. If there are fewer than
            `width` sequences, the others have score -inf and length 0.
    """

    symbols: Integer[Array, "N B width"]
    lengths: Int[Array, "B width"]
    scores: Float[Array, "B width"]


Choose = Callable[[Float[Array, "B v"], Any], Int[Array, "B"]]
"""The choice of a symbol from the logits, with the key of the step if there is one."""


def feed_back(
    layer: Layer,
    given: tuple[Any, Any, Any],
    choose: Choose,
    keys: Any,
    steps: int,
    stop: int | None,
) -> Decoded:
    """Runs `steps` steps, each on the symbol that `choose` took from the last logits."""
    params, state, start = given
    step = jax.vmap(layer.step, in_axes=(None, 0, 0))

    def body(carry, key):
        state, symbol, ended = carry
        after, logits = step(params, state, symbol)
        chosen = choose(logits, key)
        log_p, chosen = log_prob(logits, chosen), chosen.astype(symbol.dtype)
        if stop is not None:
            after = select(ended, state, after)
            chosen = jnp.where(ended, jnp.full_like(chosen, stop), chosen)
            log_p = jnp.where(ended, jnp.zeros_like(log_p), log_p)
            ended = ended | (chosen == stop)
        return (after, chosen, ended), (chosen, log_p, ended)

    ended = jnp.zeros(start.shape, bool)
    # inside shard_map, the carry must vary over the same mesh axes as the results
    carry = aligned((state, start, ended), params, keys)
    (state, _, _), (symbols, log_probs, ended) = jax.lax.scan(body, carry, keys, steps)
    return Decoded(symbols, jnp.sum(~ended, axis=0, dtype=jnp.int32), log_probs, state)


def at_least_float32(logits: Float[Array, "..."]) -> Float[Array, "..."]:
    """Logits in float32 at least: sums over a vocabulary lose digits in bfloat16."""
    return logits.astype(state_dtype(logits))


def log_prob(
    logits: Float[Array, "B v"], symbols: Int[Array, "B"]
) -> Float[Array, "B"]:
    """`log softmax(logits)[symbol]`."""
    logits = at_least_float32(logits)
    chosen = jnp.take_along_axis(logits, symbols[:, None], axis=-1)[:, 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)


def select(which: Bool[Array, "B"], yes: Any, no: Any) -> Any:
    """Selects `yes` or `no` for each entry of the batch, for trees with leaves `(B, ...)`."""

    def chosen(yes, no):
        return jnp.where(expand_trailing(which, no.ndim), yes, no)

    return jax.tree.map(chosen, yes, no)
