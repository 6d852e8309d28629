"""Speaker identification from sequences of different lengths, with a bidirectional GRU."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
from sklearn.metrics import accuracy_score

from ..common import Options, Result, Results, Run, count, fit
from .data import Sequences, load
from .evaluation import accuracy_by_frames, nearest_accuracy
from .model import make_batches, make_loss, make_model, make_scores
from .picture import draw


PUBLISHED = {"signature kernel, Toth et al. 2023, arXiv:2311.12214": 0.986}


@dataclass(frozen=True)
class Config(Options):
    """Train a GRU to tell nine speakers apart, on the official split."""

    hidden: int = 64
    """Hidden units of the GRU in each direction."""
    dropout: float = 0.5
    """Fraction of features dropped after the GRU during training."""
    noise: float = 0.6
    """Standard deviation of the noise added to the standardized features during training."""
    cut: int = 6
    """The most frames that a sequence loses at its ends during training."""

    batch: int = 54
    """Sequences of a batch."""
    updates: int = 600
    """Number of updates of the parameters."""
    learning_rate: float = 3e-3
    """Learning rate of AdamW at the start; it decays to zero."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW."""
    seeds: int = 3
    """Number of trainings, each with its own seed."""
    folds: int = 0
    """If above 0, cross-validate with so many folds of the training part instead of testing."""


SMALL = Config(hidden=8, batch=12, updates=60, learning_rate=1e-2, noise=0.1, seeds=1)


def main(config: Config, run: Run) -> Results:
    """Trains with several seeds, tests each, and compares with the nearest neighbour."""
    data = load(config.data_dir)
    model = make_model(
        data.train.frames.shape[-1], config.hidden, data.speakers, config.dropout
    )
    scores = make_scores(model)
    parts = splits(config, data.train, data.test)
    run.say(f"{len(data.train.lengths)} sequences to train on; {len(parts)} trainings")
    loss, optimizer = make_loss(scores), make_optimizer(config)
    each = [train(config, run, model, loss, optimizer, *part) for part in parts]
    tests = [test for *_, test in parts]
    predicted = [
        np.asarray(scores(params, test.frames, test.lengths)).argmax(-1)
        for (params, _), test in zip(each, tests, strict=True)
    ]
    accuracies = [
        accuracy_score(test.speakers, guess)
        for test, guess in zip(tests, predicted, strict=True)
    ]
    nearest = run.once("nearest-neighbour", lambda: nearest_accuracy(parts))
    heard = accuracy_by_frames(scores, [params for params, _ in each], tests)
    draw(run.picture, tests[0], predicted[0], heard, nearest)
    row = Result(
        "speaker of a sequence (many-to-one)",
        "GRU, bidirectional",
        count(each[0][0]),
        "accuracy",
        tuple(map(float, accuracies)),
        sum(seconds for _, seconds in each),
        goal="at least 0.98",
        baselines={"1-NN, time warping": nearest},
        published=PUBLISHED,
    )
    return Results((row,), {"accuracy by frames heard": heard.mean(axis=0).tolist()})


def splits(
    config: Config, train: Sequences, test: Sequences
) -> list[tuple[str, int, Sequences, Sequences]]:
    """Name, seed, training part and test part of each training."""
    if not config.folds:
        return [(f"seed-{s}", s, train, test) for s in range(config.seeds)]
    fold = np.arange(len(train.lengths)) % config.folds  # the speakers are in order
    return [
        (f"fold-{f}", 0, train.pick(fold != f), train.pick(fold == f))
        for f in range(config.folds)
    ]


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """AdamW with a cosine decay to zero."""
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.updates)
    return optax.adamw(schedule, weight_decay=config.weight_decay)


def train(
    config: Config,
    run: Run,
    model: Any,
    loss: Any,
    optimizer: optax.GradientTransformation,
    name: str,
    seed: int,
    data: Sequences,
    _: Sequences,
) -> Any:
    """Trains one network; returns its parameters and the seconds."""
    return fit(
        run,
        name,
        model.init(jax.random.key(seed)),
        loss,
        make_batches(data, config.batch, config.noise, config.cut, seed),
        optimizer,
        updates=config.updates,
        seed=seed,
    )
