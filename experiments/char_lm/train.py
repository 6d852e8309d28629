"""A character-level LSTM language model of any text: trains, evaluates, samples."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn
from jaxrnn import diagnostics

from ..common import Result, Results, Run, count, text
from .picture import draw


@dataclass(frozen=True)
class Config(text.TextOptions):
    """Train a character-level LSTM language model, evaluate it, and sample from it.

    The text is by default the source of Python's standard library.
    """

    hidden: int = 256
    """Hidden units of each LSTM."""
    layers: int = 1
    """Number of stacked LSTMs."""
    embedding: int = 64
    """Features of a symbol's embedding."""


SMALL = Config(
    hidden=16, embedding=8, batch=4, time=8, updates=60, evaluate_every=20, sample=200
)


def make_model(config: Config) -> jaxrnn.Stack:
    """Embedding, LSTMs with dropout after each, and a linear layer to the next symbol."""
    layers: list[jaxrnn.Layer] = [jaxrnn.Embedding(text.VOCABULARY, config.embedding)]
    width = config.embedding
    for _ in range(config.layers):
        layers += [jaxrnn.LSTM(width, config.hidden), jaxrnn.Dropout(config.dropout)]
        width = config.hidden
    return jaxrnn.Stack((*layers, jaxrnn.Dense(width, text.VOCABULARY)))


def main(config: Config, run: Run) -> Results:
    """Trains one model on a text and evaluates it on the end of the text."""
    data = text.load(config.text, config.held_out)
    run.say(
        f"{data.name}: {len(data.train):,} symbols to train on, {len(data.held_out):,} held out"
    )
    model = make_model(config)
    trained = text.train_model(config, run, "training", model, data)
    baselines = {
        "unigram": text.context_bits(data, 0),
        "bigram": text.context_bits(data, 1),
    }
    norms = gradient_by_lag(model, trained.params, data)
    title = f"{data.name}: {model.layers[1]}"
    draw(run.picture, title, run.metrics("training"), baselines, norms)
    row = Result(
        f"next character of {data.name} (many-to-many)",
        "LSTM",
        count(trained.params),
        "bits per character",
        (trained.bits,),
        trained.seconds,
        baselines=baselines,
    )
    return Results((row,))


def gradient_by_lag(model: jaxrnn.Layer, params: Any, data: text.Text) -> np.ndarray:
    """Gradient norm of a symbol's loss by time lag, over windows of the held-out text."""
    steps = min(100, len(data.held_out) // 2)
    starts = np.linspace(0, len(data.held_out) - steps - 1, 64).astype(int)
    rows = np.stack([data.held_out[s : s + steps + 1] for s in starts], axis=1)
    loss = optax.softmax_cross_entropy_with_integer_labels
    norms = jax.jit(
        lambda params, xs, targets: diagnostics.gradient_norm_by_lag(
            model, params, xs, targets, loss
        )
    )
    return np.asarray(norms(params, jnp.asarray(rows[:-1]), jnp.asarray(rows[-1])))
