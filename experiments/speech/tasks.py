"""The training and the test of each network."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from sklearn.metrics import accuracy_score

from ..common import Run, fit
from . import batches, model, strings
from .batches import Shape, Sound
from .data import DIGITS
from .features import log_mel
from .splits import Part


class Network(NamedTuple):
    """A network, its scores, and how it is trained; what it shares is compiled once."""

    net: Any
    scores: model.Scores
    loss: Any
    optimizer: optax.GradientTransformation
    updates: int


class Outcome(NamedTuple):
    """A trained network: its parameters, the seconds, and a measure for each decoder."""

    params: Any
    seconds: float
    values: dict[str, float]


def digit_network(config: Any) -> Network:
    """The network for single digits."""
    return _network(config, DIGITS, model.make_digit_loss, config.updates)


def string_network(config: Any) -> Network:
    """The network for strings, with the blank of CTC as one symbol more."""
    return _network(config, DIGITS + 1, model.make_string_loss, config.string_updates)


def _network(config: Any, symbols: int, make_loss: Any, updates: int) -> Network:
    width, rate = config.bands * config.stack, config.learning_rate
    net = model.make_model(width, config.hidden, config.layers, config.dropout, symbols)
    scores = model.make_scores(net)
    schedule = optax.warmup_cosine_decay_schedule(
        rate / 10, rate, updates // 10, updates, rate / 100
    )
    return Network(net, scores, make_loss(scores), optax.adam(schedule), updates)


def recognize_digits(
    run: Run,
    config: Any,
    network: Network,
    name: str,
    part: Part,
    seed: int,
    strength: float,
) -> Outcome:
    """Trains a network on digits and tests it on others: the accuracy."""
    shape = Shape(config.bands, config.stack, config.steps)
    batch = batches.random_digits(part.train, config.batch, shape, strength, seed)
    params, seconds = _fit(run, network, name, batch, seed)
    test = batches.whole(batches.digits(part.test), shape)
    found = model.predict(network.scores, params, test)
    accuracy = accuracy_score(test.labels[:, 0], found)
    return Outcome(params, seconds, {"GRU": float(accuracy)})


def recognize_strings(
    run: Run, config: Any, network: Network, name: str, part: Part, test: list[Sound]
) -> Outcome:
    """Trains a network on strings and tests it on others: the label error rates."""
    shape = Shape(config.bands, config.stack, config.string_steps)
    batch = batches.random_strings(
        part.train, config.most, config.string_batch, shape, config.known_strength, 0
    )
    params, seconds = _fit(run, network, name, batch, 0)
    given = batches.whole(test, shape)
    found = strings.decoded(network.scores, params, given, config.width)
    said = [list(sound.digits) for sound in test]
    rates = {how: strings.label_error_rate(rows, said) for how, rows in found.items()}
    return Outcome(params, seconds, rates)


def test_strings(config: Any, part: Part) -> list[Sound]:
    """Strings of test recordings, always the same."""
    random = np.random.default_rng(0)
    return [
        batches.join(part.test, config.most, random) for _ in range(config.test_strings)
    ]


def example(
    config: Any, network: Network, params: Any, sounds: list[Sound]
) -> tuple[np.ndarray, np.ndarray, list[int], list[int]]:
    """The first of the longest strings: spectra, probabilities, digits said and found."""
    sound = max(sounds, key=lambda sound: len(sound.digits))
    shape = Shape(config.bands, config.stack, config.string_steps)
    batch = batches.whole([sound], shape)
    ys = network.scores(params, batch.frames, batch.lengths)[: batch.lengths[0], 0]
    found = strings.decoded(network.scores, params, batch, config.width)
    return (
        log_mel(sound.samples, config.bands),
        np.asarray(jax.nn.softmax(ys)),
        list(sound.digits),
        found["beam search"][0],
    )


def _fit(run: Run, network: Network, name: str, batch: Any, seed: int) -> Any:
    return fit(
        run,
        name,
        network.net.init(jax.random.key(seed)),
        network.loss,
        batch,
        network.optimizer,
        updates=network.updates,
        seed=seed,
        max_norm=1.0,
    )
