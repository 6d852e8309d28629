"""Sampling with a temperature, from the k best symbols or from the nucleus."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key

from .._check import check_key
from .._layer import Layer
from .._typing import Batched
from ._checks import check_count, check_decoder, check_number, check_symbol
from ._common import Decoded, at_least_float32, feed_back


def sample(
    layer: Layer,
    params: Any,
    state: Batched | None,
    start: Integer[Array, "B"],
    key: Key[Array, ""],
    *,
    steps: int,
    stop: int | None = None,
    temperature: Any = 1.0,
    top_k: int | None = None,
    top_p: Any = None,
) -> Decoded:
    """Decodes by sampling each symbol and feeding it back.

        symbol_t ~ softmax(top_p(top_k(logits_t / temperature)))

    `top_k` and `top_p` set the logits of all other symbols to -inf, in this order, as in
    Hugging Face's transformers. `log_probs` in the result do not depend on these options:
    they are the log-probabilities under the layer.

    Args:
        layer, params, state, start, steps, stop: as for `greedy`.
        key: a random key.
        temperature: a number above 0, which may be traced: below 1 sharpens the
            distribution and above 1 flattens it.
        top_k: the number of most probable symbols to keep. Symbols with the same logit as
            the k-th are kept as well. None for no limit.
        top_p: a number above 0 and at most 1, which may be traced. The smallest set of most
            probable symbols whose probabilities sum to at least `top_p` is kept (the
            nucleus), and symbols with the same logit as the last of them. The
            probabilities are those after temperature and `top_k`. None for no limit.

    Returns:
        A `Decoded`, with symbols and log-probabilities `(N, B)`.

    Raises:
        TypeError, ValueError: if an argument is invalid, or if the layer has no `step`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> model = jaxrnn.Stack(
        ...     (jaxrnn.Embedding(27, 8), jaxrnn.LSTM(8, 16), jaxrnn.Dense(16, 27))
        ... )
        >>> params = model.init(jax.random.key(0))
        >>> start = jnp.zeros(2, int)
        >>> out = jaxrnn.decode.sample(
        ...     model, params, None, start, jax.random.key(1), steps=20, top_p=0.9
        ... )
        >>> out.symbols.shape
        (20, 2)

    Reference: Holtzman et al. 2019, arXiv:1904.09751 (the nucleus); Fan, Lewis, Dauphin
    2018, arXiv:1805.04833 (top-k).
    """
    given = check_decoder(layer, params, state, start, "start", "(B,)")
    key = check_key(key)
    steps = check_count("steps", steps)
    stop = None if stop is None else check_symbol("stop", stop, given.vocabulary)
    hint = "give a number above 0. For the limit of temperature 0, use greedy."
    temperature = check_number("temperature", temperature, lambda t: t > 0, hint)
    if top_k is not None:
        top_k = check_count("top_k", top_k, given.vocabulary)
    if top_p is not None:
        hint = "give a number above 0 and at most 1, or None for no limit."
        top_p = check_number("top_p", top_p, lambda p: 0 < p <= 1, hint)
    options = (temperature, top_p)
    return _sample(layer, given[:3], key, options, steps=steps, stop=stop, top_k=top_k)


@partial(jax.jit, static_argnames=("steps", "stop", "top_k"))
def _sample(layer, given, key, options, *, steps, stop, top_k):
    temperature, top_p = options

    def choose(logits, key):
        logits = at_least_float32(logits)
        logits = logits / temperature.astype(logits.dtype)
        if top_k is not None:
            logits = keep_top_k(logits, top_k)
        if top_p is not None:
            logits = keep_top_p(logits, top_p)
        return jax.random.categorical(key, logits).astype(jnp.int32)

    keys = jax.random.split(key, steps)
    return feed_back(layer, given, choose, keys, steps, stop)


def keep_top_k(logits: Float[Array, "B v"], k: int) -> Float[Array, "B v"]:
    """The logits with -inf below the k-th largest of each row."""
    threshold = jax.lax.top_k(logits, k)[0][:, -1:]
    return jnp.where(logits < threshold, -jnp.inf, logits)


def keep_top_p(logits: Float[Array, "B v"], p: Float[Array, ""]) -> Float[Array, "B v"]:
    """The logits with -inf outside of the nucleus of each row."""
    ordered = jnp.sort(logits, axis=-1, descending=True)
    probs = jax.nn.softmax(ordered, axis=-1)
    # a symbol is in the nucleus if the more probable ones sum to less than p
    before = jnp.cumsum(probs, axis=-1) - probs
    inside = (before < p.astype(probs.dtype)) | (p >= 1)
    threshold = jnp.min(jnp.where(inside, ordered, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits < threshold, -jnp.inf, logits)
