"""A small GRU that reads one row a day and says something about the next day."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn
from jaxrnn import training

from ..common import Fitted, Run, fit


@dataclass(frozen=True, eq=False)
class Days:
    """Inputs of each day and targets of the day after, `(days, features)`, float32.

    The days before `train` are for training, those before `validation` for validation.
    """

    inputs: np.ndarray
    targets: np.ndarray
    train: int
    validation: int

    def windows(self, length: int, batch: int, seed: int) -> Any:
        """`batch(position)`: random windows of the training part, time-major."""

        def draw(position):
            random = np.random.default_rng((seed, position))
            starts = random.integers(0, self.train - length + 1, batch)
            days = starts + np.arange(length)[:, None]
            return self.inputs[days], self.targets[days]

        return draw


def make_model(days: Days, units: int, dropout: float) -> jaxrnn.Stack:
    """A GRU with dropout, and a linear layer to the targets."""
    return jaxrnn.Stack(
        (
            jaxrnn.GRU(days.inputs.shape[1], units),
            jaxrnn.Dropout(dropout),
            jaxrnn.Dense(units, days.targets.shape[1]),
        )
    )


def make_outputs(model: jaxrnn.Layer, days: Days) -> Callable[[Any], np.ndarray]:
    """`outputs(params)`, `(days, targets)`: the model reads all days in one pass."""
    run = jax.jit(lambda params, xs: jaxrnn.unroll_one(model, params, xs)[1])
    return lambda params: np.asarray(run(params, days.inputs))


def train(
    run: Run,
    name: str,
    model: jaxrnn.Layer,
    days: Days,
    loss: Callable[[Any, Any], jax.Array],
    *,
    updates: int,
    length: int,
    learning_rate: float,
    seed: int,
) -> Fitted:
    """Trains with RMSprop; the smallest loss on the validation part decides."""
    outputs = make_outputs(model, days)
    part = slice(days.train, days.validation)

    def batch_loss(params, carry, key, batch):
        xs, targets = batch
        _, ys = jaxrnn.unroll(model, params, xs, key=key)
        return loss(ys, targets), carry

    def evaluate(params):
        ys = outputs(params)[part, None]
        return {"validation": float(loss(ys, days.targets[part, None]))}

    return fit(
        run,
        name,
        model.init(jax.random.key(seed)),
        batch_loss,
        days.windows(length, 32, seed),
        optax.rmsprop(optax.cosine_decay_schedule(learning_rate, updates)),
        updates=updates,
        seed=seed,
        max_norm=1.0,
        evaluate=evaluate,
        evaluate_every=max(1, updates // 20),
        choose="validation",
    )


def weather_loss(ys: Any, targets: Any) -> jax.Array:
    """Squared error of the scaled temperature, and cross-entropy of rain."""
    ys, targets = jnp.asarray(ys), jnp.asarray(targets)
    rain = training.bernoulli(ys[..., 1:], targets[..., 1:])
    return training.squared_error(ys[..., :1], targets[..., :1]) + rain
