"""Scheduled sampling: training on a mixture of given and sampled symbols."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key

from .._check import check_key, check_lengths
from .._layer import Layer
from .._sharding import aligned
from .._typing import Batched
from ._checks import check_decoder, check_number
from ._common import at_least_float32, select


def scheduled_sampling(
    layer: Layer,
    params: Any,
    state: Batched | None,
    xs: Integer[Array, "T B"],
    key: Key[Array, ""],
    *,
    probability: Any,
    lengths: Integer[Array, "B"] | None = None,
) -> tuple[Batched, Float[Array, "T B v"]]:
    """Runs a layer on its own samples at some steps, and on the given symbols at others.

        x_t = sample_{t-1} with the given probability, and xs_t otherwise;    x_1 = xs_1
        state_t, logits_t = layer.step(params, state_{t-1}, x_t)
        sample_t ~ softmax(logits_t)

    The choice is made for each step and each sequence. The logits are differentiable in
    the parameters and the state; no gradient passes through a sample. A probability of 0
    gives the result of `jaxrnn.unroll`.

    Args:
        layer, params: as for `greedy`.
        state: the state before the first step, leaves `(B, ...)`; None for the initial one.
        xs: `(T, B)` integers, the given inputs.
        key: a random key.
        probability: a number from 0 to 1, which may be traced, so that a schedule does not
            compile again.
        lengths: `(B,)` integers from 0 to T, the number of valid steps; None for T. The
            state is the one after the last valid step, and logits past it are zero.

    Returns:
        `(state, logits)`: leaves `(B, ...)` and `(T, B, v)`, like those of `unroll`.

    Raises:
        TypeError, ValueError: if an argument is invalid, or if the layer has no `step`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> model = jaxrnn.Stack(
        ...     (jaxrnn.Embedding(27, 8), jaxrnn.GRU(8, 16), jaxrnn.Dense(16, 27))
        ... )
        >>> params = model.init(jax.random.key(0))
        >>> text = jnp.ones((6, 2), int)  # each input is followed by its target
        >>> state, logits = jaxrnn.decode.scheduled_sampling(
        ...     model, params, None, text[:-1], jax.random.key(1), probability=0.25
        ... )
        >>> logits.shape
        (5, 2, 27)

    Reference: Bengio et al. 2015, arXiv:1506.03099.
    """
    given = check_decoder(layer, params, state, xs, "xs", "(T, B)")
    time, batch = given.symbols.shape
    if lengths is None:
        lengths = jnp.full(batch, time, jnp.int32)
    lengths = check_lengths(lengths, time, batch)
    hint = "give a number from 0 to 1."
    probability = check_number("probability", probability, lambda p: 0 <= p <= 1, hint)
    return _run(layer, given[:3], check_key(key), probability, lengths)


@jax.jit
def _run(layer, given, key, probability, lengths):
    params, state, xs = given
    time = jnp.arange(len(xs))
    valid = time[:, None] < lengths[None, :].astype(time.dtype)
    xs = jnp.where(valid, xs, jnp.zeros_like(xs))  # padding may hold any integer
    key_mix, key_draw = jax.random.split(key)
    own = jax.random.uniform(key_mix, xs.shape, probability.dtype) < probability
    own &= (time > 0)[:, None]  # there is no sample before the first step
    step = jax.vmap(layer.step, in_axes=(None, 0, 0))

    def body(carry, inputs):
        state, sampled = carry
        x, own, valid, key = inputs
        after, logits = step(params, state, jnp.where(own, sampled, x))
        drawn = at_least_float32(jax.lax.stop_gradient(logits))
        sampled = jax.random.categorical(key, drawn).astype(x.dtype)
        shown = jnp.where(valid[:, None], logits, jnp.zeros_like(logits))
        return (select(valid, after, state), sampled), shown

    inputs = (xs, own, valid, jax.random.split(key_draw, len(xs)))
    # inside shard_map, the carry must vary over the same mesh axes as the results
    carry, inputs = aligned(((state, xs[0]), inputs), params)
    (state, _), logits = jax.lax.scan(body, carry, inputs)
    return state, logits
