"""Trains the networks on the chorales, and lets one of them continue a chorale."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import optax

import jaxrnn

from ..common import Options, Result, Results, Run, count, fit
from . import data
from .baselines import baselines
from .generate import continued
from .model import Factorised, Voices
from .picture import draw
from .score import write_midi


@dataclass(frozen=True)
class Config(Options):
    """Predict the next chord of Bach's chorales, and continue one."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds; each one is a training of every network."""
    cells: tuple[Literal["tanh", "GRU", "LSTM"], ...] = ("tanh", "GRU", "LSTM")
    """The cells of the networks with factorised output."""
    hidden: int = 256
    """Units of the network over time."""
    dropout: float = 0.5
    """Fraction of its outputs that are dropped in training."""
    weight_drop: float = 0.6
    """Fraction of its recurrent weights that are dropped for each batch in training."""
    units: int = 64
    """Units of the network over the notes of a chord."""
    embedding: int = 32
    """Features of a note's embedding."""

    batch: int = 8
    """Pieces of a batch."""
    updates: int = 1500
    """Updates of a network with factorised output."""
    updates_voices: int = 1000
    """Updates of the network that predicts one note after another."""
    learning_rate: float = 3e-3
    """First learning rate of AdamW; it decays to a fiftieth."""
    weight_decay: float = 1e-2
    """Weight decay of the matrices."""
    average: float = 0.99
    """Decay of the moving average of the parameters, which is evaluated."""
    evaluate_every: int = 100
    """Updates between evaluations on the validation pieces, which choose the parameters."""

    opening: int = 8
    """Chords of a test piece that are given."""
    continuation: int = 40
    """Chords that the network writes after them."""
    temperature: float = 0.9
    """Temperature of the samples; 1 samples from the model itself."""


SMALL = Config(
    seeds=(0,), cells=("GRU",), hidden=16, dropout=0.1, weight_drop=0.1, units=8,
    embedding=4, batch=4, updates=60, updates_voices=160, learning_rate=3e-2, average=0.0,
    evaluate_every=20, opening=2, continuation=4,
)  # fmt: skip

PUBLISHED = {"GRU": {"Chung 2014": 8.54}}
GOALS = {"GRU": "at most 8.43"}


def main(config: Config, run: Run) -> Results:
    """Trains every network with every seed."""
    pieces = data.load(config.data_dir)
    counted = run.once("baselines", lambda: baselines(pieces.train, pieces.test))
    rows = []
    for cell in config.cells:
        model = Factorised(cell, config.hidden, config.dropout)
        row, _ = trained(config, run, pieces, model, config.updates)
        rows.append(
            Result(
                "next chord, notes independent (many-to-many)", cell, **row,
                goal=GOALS.get(cell, ""), published=PUBLISHED.get(cell, {}),
                baselines={k: counted[k] for k in ("note unigram", "note Markov")},
            )
        )  # fmt: skip
    voices = Voices(
        "GRU", config.hidden, config.dropout, config.units, config.embedding
    )
    row, params = trained(config, run, pieces, voices, config.updates_voices)
    rows.append(
        Result(
            "next chord, note after note (many-to-many, twice)", "GRU + GRU", **row,
            goal="at most 6.3",
            baselines={"voice Markov": counted["voice Markov"]},
        )
    )  # fmt: skip
    opening = pieces.test[0][: config.opening]
    written = continued(
        voices, params, opening, config.continuation, 0, config.temperature
    )
    write_midi(run.folder / "continued.mid", written)
    write_midi(run.folder / "bach.mid", pieces.test[0])
    draw(run.picture, rows, counted, pieces.test[0], written, config.opening)
    return Results(tuple(rows), data.facts(pieces))


def trained(
    config: Config, run: Run, pieces: data.Chorales, model: Any, updates: int
) -> tuple[dict[str, Any], Any]:
    """The figures of one network over all seeds, and the parameters of the first."""
    optimizer = optax.adamw(
        optax.cosine_decay_schedule(config.learning_rate, updates, 0.02),
        weight_decay=config.weight_decay,
        mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
    )
    valid, test = data.arrays(pieces.valid), data.arrays(pieces.test)
    nats, kind = jax.jit(model.nats), type(model).__name__.lower()

    def loss(params: Any, carry: Any, key: Any, batch: Any) -> Any:
        key, weights = jax.random.split(key)
        params = jaxrnn.drop_connect(params, config.weight_drop, weights)
        return model.nats(params, batch, key), carry

    fitted = [
        fit(
            run,
            f"{kind}-{model.cell}/seed-{seed}",
            model.init(jax.random.key(seed)),
            loss,
            data.Batches(pieces.train, config.batch, seed),
            optimizer,
            updates=updates,
            seed=seed,
            max_norm=1.0,
            average=config.average,
            evaluate=lambda params: {"valid": float(nats(params, valid))},
            evaluate_every=config.evaluate_every,
            choose="valid",
        )
        for seed in config.seeds
    ]
    params = fitted[0].params
    figures = {
        "parameters": count(params),
        "measure": "nats per chord",
        "values": tuple(float(nats(one.params, test)) for one in fitted),
        "seconds": sum(one.seconds for one in fitted),
    }
    return figures, params
