"""The model and its loss: embedding, LSTMs, a linear layer; truncated BPTT."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn
from jaxrnn import training

from .config import Config
from .text import VOCABULARY, characters


def make_model(config: Config) -> jaxrnn.Stack:
    """Embedding, LSTMs with dropout after each, and a linear layer to the next symbol."""
    layers: list[jaxrnn.Layer] = [jaxrnn.Embedding(VOCABULARY, config.embedding)]
    width = config.embedding
    for _ in range(config.layers):
        layers += [jaxrnn.LSTM(width, config.hidden), jaxrnn.Dropout(config.dropout)]
        width = config.hidden
    return jaxrnn.Stack((*layers, jaxrnn.Dense(width, VOCABULARY)))


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """Adam with a short warm-up and a cosine decay to a tenth."""
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=config.learning_rate / 10,
        peak_value=config.learning_rate,
        warmup_steps=min(50, config.updates // 10),
        decay_steps=max(config.updates, 2),
        end_value=config.learning_rate / 10,
    )
    return optax.adam(schedule, b2=0.99)


def make_loss(
    model: jaxrnn.Layer, config: Config
) -> Callable[..., tuple[jax.Array, Any]]:
    """Nats per symbol of a batch, and the state that the next batch starts from."""

    def loss(params, carry, key, batch):
        key, weights_key = jax.random.split(key)
        if config.weight_drop:
            params = jaxrnn.drop_connect(params, config.weight_drop, weights_key)
        carry, logits = jaxrnn.unroll(
            model, params, batch.inputs, carry, resets=batch.resets, key=key
        )
        return training.cross_entropy(logits, batch.targets), carry

    return loss


def initial_carry(model: jaxrnn.Layer, params: Any, batch: int) -> Any:
    """The initial state of every stream."""
    one = model.initial_state(params)
    return jax.tree.map(lambda s: jnp.broadcast_to(s, (batch, *s.shape)), one)


def make_evaluate(
    model: jaxrnn.Layer, symbols: np.ndarray, steps: int = 512, batch: int = 64
) -> Callable[[Any], float]:
    """`evaluate(params)`: bits per character of a text, with the state carried through it.

    The text is read as up to `batch` streams. Every symbol counts except the first of each
    stream; the last window is padded to `steps` and masked.
    """
    batch = max(1, min(batch, len(symbols) // 2))
    length = len(symbols) // batch
    streams = symbols[: length * batch].reshape(batch, length).T
    inputs, targets = streams[:-1], streams[1:]

    @jax.jit
    def window_nats(params, carry, inputs, targets, lengths):
        carry, logits = jaxrnn.unroll(model, params, inputs, carry, lengths=lengths)
        mask = training.valid_steps(lengths, inputs.shape[0])
        nats = training.cross_entropy(logits, targets, mask)
        return carry, nats * jnp.sum(mask).astype(nats.dtype)

    def evaluate(params):
        carry, nats = initial_carry(model, params, batch), 0.0
        for start in range(0, length - 1, steps):
            window = [
                _padded(s[start : start + steps], steps) for s in (inputs, targets)
            ]
            valid = np.full(batch, min(steps, length - 1 - start))
            carry, added = window_nats(params, carry, *window, valid)
            nats += float(added)
        return nats / np.log(2) / characters(targets)

    return evaluate


def _padded(window: np.ndarray, steps: int) -> np.ndarray:
    return np.pad(window, ((0, steps - len(window)), (0, 0)))


def write(
    model: jaxrnn.Layer, params: Any, prompt: bytes, count: int, seed: int
) -> str:
    """`count` symbols sampled from the model after a prompt, one step at a time."""

    def body(carry, inputs):
        state, symbol = carry
        given, key = inputs
        symbol = jnp.where(given >= 0, given, symbol)
        state, logits = model.step(params, state, symbol)
        following = jax.random.categorical(key, logits).astype(jnp.int32)
        return (state, following), following

    given = np.full(len(prompt) + count - 1, -1, np.int32)
    given[: len(prompt)] = list(prompt)
    keys = jax.random.split(jax.random.key(seed), len(given))
    start = (model.initial_state(params), jnp.int32(0))
    _, symbols = jax.jit(lambda start, xs: jax.lax.scan(body, start, xs))(
        start, (given, keys)
    )
    written = np.asarray(symbols)[len(prompt) - 1 :]
    return bytes(written.tolist()).decode("utf-8", errors="replace")
