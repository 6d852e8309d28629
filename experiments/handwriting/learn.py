"""The trainings: reading digits, and writing characters."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrnn import training

from ..common import Result, Run, count, fit
from .baselines import nearest
from .data import Characters, Digits
from .model import Reader, Writer
from .pen import Batches, movements


if TYPE_CHECKING:
    from .train import Config


class Learned(NamedTuple):
    """A network that writes, and its nats per point of the test characters.

    Attributes:
        nats: of the place of a point, and of the pen after it.
    """

    params: Any
    nats: tuple[float, float]
    seconds: float


def read_digits(config: "Config", run: Run, digits: Digits) -> Result:
    """Trains the network that reads digits with every seed, by RMSprop."""
    model = Reader(config.reader_hidden, dropout=0.3)
    rate, updates = config.reader_learning_rate, config.reader_updates
    optimizer = optax.rmsprop(optax.cosine_decay_schedule(rate, updates, 0.02))

    def loss(params: Any, carry: Any, key: Any, batch: Any) -> Any:
        points, labels = batch
        logits = model.logits(params, points, key)
        return training.cross_entropy(logits[None], labels[None]), carry

    fitted = [
        fit(
            run,
            f"reader/seed-{seed}",
            model.init(jax.random.key(seed)),
            loss,
            DigitBatches(digits, config.reader_batch, seed),
            optimizer,
            updates=updates,
            seed=seed,
            max_norm=1.0,
            average=0.99,
        )
        for seed in config.seeds
    ]
    logits = jax.jit(model.logits)
    right = lambda one: (
        np.asarray(logits(one.params, digits.test)).argmax(axis=1) == digits.test_labels
    )
    return Result(
        "which digit (many-to-one)",
        "GRU, both directions",
        count(fitted[0].params),
        "accuracy",
        tuple(float(np.mean(right(one))) for one in fitted),
        sum(one.seconds for one in fitted),
        goal="at least 0.98",
        baselines={f"{k}-NN": nearest(digits, k) for k in (1, 3)},
    )


class DigitBatches:
    """Random digits, each a little stretched, sheared, turned and moved."""

    def __init__(self, digits: Digits, size: int, seed: int):
        self._digits, self._size, self._seed = digits, size, seed

    def __call__(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        pick = np.random.default_rng((self._seed, position))
        chosen = pick.choice(len(self._digits.train), self._size)
        maps = np.eye(2) + 0.08 * pick.standard_normal((self._size, 2, 2))
        points = np.einsum("bti,bij->btj", self._digits.train[chosen] - 50, maps) + 50
        points += 2 * pick.standard_normal((self._size, 1, 2))
        return points.astype(np.float32), self._digits.train_labels[chosen]


def write_characters(
    config: "Config", run: Run, model: Writer, found: Characters, unit: float
) -> Learned:
    """Trains a network that writes, by Adam."""
    optimizer = optax.adam(
        optax.cosine_decay_schedule(config.learning_rate, config.updates, 0.02)
    )
    _, valid, test = (movements(part, config.longest, unit) for part in found)
    nats = jax.jit(model.nats)

    def loss(params: Any, carry: Any, key: Any, batch: Any) -> Any:
        return jnp.add(*model.nats(params, batch, key)), carry

    fitted = fit(
        run,
        f"writer-{model.components}",
        model.init(jax.random.key(0)),
        loss,
        Batches(found.train, config.batch, config.longest, unit, seed=0),
        optimizer,
        updates=config.updates,
        max_norm=1.0,
        average=0.99,
        evaluate=lambda params: {"valid": float(jnp.add(*nats(params, valid)))},
        evaluate_every=config.evaluate_every,
        choose="valid",
    )
    place, of_pen = nats(fitted.params, test)
    return Learned(fitted.params, (float(place), float(of_pen)), fitted.seconds)
