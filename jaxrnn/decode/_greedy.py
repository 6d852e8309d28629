"""Greedy decoding: the most probable symbol at every step."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Integer

from .._layer import Layer
from .._typing import Batched
from ._checks import check_count, check_decoder, check_symbol
from ._common import Decoded, feed_back


def greedy(
    layer: Layer,
    params: Any,
    state: Batched | None,
    start: Integer[Array, "B"],
    *,
    steps: int,
    stop: int | None = None,
) -> Decoded:
    """Decodes by feeding the most probable symbol back at every step.

        state_t, logits_t = layer.step(params, state_{t-1}, symbol_{t-1})
        symbol_t = argmax logits_t,    symbol_0 = start

    Of symbols with equal logits, the lowest is taken. NaN in the logits gives NaN in
    `log_probs`. A start symbol that equals `stop` does not end its sequence.

    Args:
        layer: a layer that reads one symbol and returns logits `(v,)`.
        params: its parameters.
        state: the state before `start`, leaves `(B, ...)`, such as one that `jaxrnn.unroll`
            returned for a prompt; None for the initial state.
        start: `(B,)` integers of any dtype, the first symbol that is read.
        steps: N, the number of symbols to decode.
        stop: the symbol that ends a sequence; None if sequences do not end.

    Returns:
        A `Decoded`, with symbols and log-probabilities `(N, B)`.

    Raises:
        TypeError, ValueError: if an argument is invalid, or if the layer has no `step`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> model = jaxrnn.Stack(
        ...     (jaxrnn.Embedding(27, 8), jaxrnn.GRU(8, 16), jaxrnn.Dense(16, 27))
        ... )
        >>> params = model.init(jax.random.key(0))
        >>> prompt = jnp.array([[3, 1], [4, 1], [5, 9]])  # (T, B)
        >>> state, _ = jaxrnn.unroll(model, params, prompt[:-1])
        >>> out = jaxrnn.decode.greedy(model, params, state, prompt[-1], steps=20, stop=0)
        >>> out.symbols.shape, out.lengths.shape
        ((20, 2), (2,))
        >>> more = jaxrnn.decode.greedy(  # continues
        ...     model, params, out.state, out.symbols[-1], steps=5, stop=0
        ... )
    """
    given = check_decoder(layer, params, state, start, "start", "(B,)")
    steps = check_count("steps", steps)
    stop = None if stop is None else check_symbol("stop", stop, given.vocabulary)
    return _greedy(layer, given[:3], steps=steps, stop=stop)


@partial(jax.jit, static_argnames=("steps", "stop"))
def _greedy(layer, given, *, steps, stop):
    return feed_back(layer, given, _most_probable, None, steps, stop)


def _most_probable(logits, key):
    del key
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)
