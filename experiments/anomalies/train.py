"""Faults in a stream of seven sensors, found by what a GRU expects of each sensor."""

import time
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

from ..common import Fitted, Options, Results, Run, count, ett, fit
from . import model
from .baselines import simple_scores
from .faults import Stream, plant
from .measures import SCORES, average_precision, found, results
from .picture import draw


@dataclass(frozen=True)
class Config(Options):
    """Find planted faults of sensors while the data stream in."""

    hours: tuple[int, ...] = ett.HOURS
    """Hours of ETTh1 for training, validation and test."""
    units: int = 64
    """Units of the GRU."""
    dropout: float = 0.2
    """Fraction of features dropped after the GRU."""
    steps: int = 169
    """Hours of a window, in training."""
    batch: int = 32
    """Windows of a batch."""
    updates: int = 1000
    """Number of updates of the parameters."""
    learning_rate: float = 3e-3
    """Initial learning rate of Adam, which decays to zero."""
    decay: float = 0.5
    """Decay of the moving average of the errors."""
    faults: int = 8
    """Faults of each kind."""
    fault_seed: int = 1
    """Seed of the faults in the validation part; the next number is that of the test part."""
    seeds: int = 3
    """Number of trainings."""


SMALL = Config(
    hours=(600, 240, 480), units=8, dropout=0.0, steps=25, batch=8, updates=150,
    learning_rate=2e-2, faults=3, seeds=1,
)  # fmt: skip


def main(config: Config, run: Run) -> Results:
    """Trains on clean hours, scales by clean hours, and measures a stream with faults."""
    data = ett.load(config.data_dir, config.hours)
    train, clean, _ = (data.part(i) for i in range(3))
    validation = plant(clean, config.faults, config.fault_seed)
    stream = plant(data.part(2), config.faults, config.fault_seed + 1)
    gru = model.make_model(train.shape[1], config.units, config.dropout)
    scores: dict[str, list[np.ndarray]] = {name: [] for name in SCORES}
    limits, seconds, micros = [], 0.0, 0.0
    for seed in range(config.seeds):
        params, taken = train_one(config, run, gru, train, clean, validation, seed)
        usual = model.follow(gru, params, config.decay, clean)
        began = time.monotonic()
        errors = model.follow(gru, params, config.decay, stream.values)
        micros = 1e6 * (time.monotonic() - began) / len(errors)
        seconds += taken
        for i, name in enumerate(SCORES):
            scores[name].append(model.unusual(usual[:, i], errors[:, i]))
        limits.append(np.quantile(model.unusual(usual[:, 1], usual[:, 1]), 0.999))
    simple, chosen = simple_scores(train, clean, validation, stream.values)
    rows = results(scores, simple, stream, count(params), seconds)
    last = scores[SCORES[1]][0], limits[0]
    draw(run.picture, stream, scores, simple, last, rows)
    alarms = [
        found(stream, score > limit)
        for score, limit in zip(scores[SCORES[1]], limits, strict=True)
    ]
    facts = {
        "faults found at the 99.9 % quantile of clean hours, by seed": alarms,
        "microseconds a sample": round(micros),
        "chosen on the validation part": chosen,
    }
    return Results(tuple(rows), facts)


def train_one(
    config: Config,
    run: Run,
    gru: Any,
    train: np.ndarray,
    clean: np.ndarray,
    validation: Stream,
    seed: int,
) -> Fitted:
    """Trains with Adam; the faults that are planted in the validation part decide."""

    def evaluate(params):
        follow = lambda xs: model.follow(gru, params, config.decay, xs)[:, 1]
        score = model.unusual(follow(clean), follow(validation.values))
        return {"1 - average precision": 1 - average_precision(score, validation)}

    schedule = optax.cosine_decay_schedule(config.learning_rate, config.updates)
    return fit(
        run,
        f"gru/seed-{seed}",
        gru.init(jax.random.key(seed)),
        model.make_loss(gru),
        model.batches(train, config.steps, config.batch, seed),
        optax.adam(schedule),
        updates=config.updates,
        seed=seed,
        max_norm=1.0,
        evaluate=evaluate,
        evaluate_every=max(1, config.updates // 5),
        choose="1 - average precision",
    )
