"""A character-level LSTM language model of any text: trains, evaluates, samples."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn
from jaxrnn import diagnostics, training

from ..common import Options, Result, Results, Run, count, fit, text, write_whole
from .picture import draw


@dataclass(frozen=True)
class Config(Options):
    """Train a character-level LSTM language model, evaluate it, and sample from it."""

    text: Path | None = None
    """A text file; by default the source of Python's standard library."""

    hidden: int = 256
    """Hidden units of each LSTM."""
    layers: int = 1
    """Number of stacked LSTMs."""
    embedding: int = 64
    """Features of a symbol's embedding."""
    dropout: float = 0.0
    """Fraction of features dropped after each LSTM during training."""
    weight_drop: float = 0.0
    """Fraction of recurrent weights dropped for each batch during training."""

    batch: int = 32
    """Streams of text that are read in parallel."""
    time: int = 64
    """Time steps of a batch, and of backpropagation."""
    restart_every: int = 32
    """Number of batches after which a stream restarts from the initial state."""
    updates: int = 2000
    """Number of updates of the parameters."""
    learning_rate: float = 5e-3
    """Peak learning rate of Adam; it warms up, then decays to a tenth."""
    max_norm: float = 1.0
    """Global norm above which the gradient is scaled down."""
    average: float = 0.0
    """Decay of the moving average of the parameters, which is evaluated; 0 for no average."""
    seed: int = 0
    """Seed of the initial weights and of dropout."""

    evaluate_every: int = 500
    """Updates between evaluations on the held-out text."""
    held_out: float = 0.1
    """Fraction of the text, at its end, that is never trained on."""
    sample: int = 400
    """Number of symbols to sample at the end."""


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
    params = model.init(jax.random.key(config.seed))
    batches = training.TextBatches(
        data.train, config.batch, config.time, config.restart_every
    )
    evaluate = text.make_evaluate(model, data.held_out)
    params, seconds = fit(
        run,
        "training",
        params,
        text.make_loss(model, config.weight_drop),
        batches.__getitem__,
        text.warm_adam(config.learning_rate, config.updates),
        updates=config.updates,
        carry=text.initial_carry(model, params, config.batch),
        seed=config.seed,
        max_norm=config.max_norm,
        average=config.average,
        evaluate=lambda params: {"bits": evaluate(params)},
        evaluate_every=config.evaluate_every,
    )
    metrics = run.metrics("training")
    bits = [line["bits"] for line in metrics if "bits" in line][-1]
    baselines = {
        "unigram": text.context_bits(data, 0),
        "bigram": text.context_bits(data, 1),
    }
    norms = gradient_by_lag(model, params, data)
    draw(run.picture, f"{data.name}: {model.layers[1]}", metrics, baselines, norms)
    prompt = bytes(data.held_out[:64].astype(np.uint8).tolist())
    sample = text.write(model, params, prompt, config.sample, config.seed)
    write_whole(run.folder / "sample.txt", sample)
    run.say("After the first 64 symbols of the held-out text it writes:\n")
    run.say(sample + "\n")
    row = Result(
        f"next character of {data.name} (many-to-many)",
        "LSTM",
        count(params),
        "bits per character",
        (bits,),
        seconds,
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
