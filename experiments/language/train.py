"""LSTM, GRU, MinGRU and RGLRU as language models of one text, at equal parameters."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import numpy as np

from jaxrnn import training

from ..common import (
    Options,
    Result,
    Results,
    Run,
    count,
    find,
    fit,
    text,
    write_whole,
)
from .model import make_model
from .picture import draw


Cell = Literal["LSTM", "GRU", "MinGRU", "RGLRU"]
PUBLISHED = {"nanoGPT, 10.7 M parameters": 1.4697 / np.log(2)}
GOALS = {"LSTM": "at most 2.14"}


@dataclass(frozen=True)
class Config(Options):
    """Train language models with four recurrences on Shakespeare, and sample from each."""

    text: Path | None = None
    """A text file; by default tinyshakespeare in the folder of the data sets."""
    cells: tuple[Cell, ...] = ("LSTM", "GRU", "MinGRU", "RGLRU")
    """The recurrences to compare."""
    parameters: int = 1_350_000
    """The most parameters that a model may have."""
    dropout: float = 0.4
    """Fraction of features dropped after each layer during training."""
    weight_drop: float = 0.2
    """Fraction of recurrent weights of LSTM and GRU dropped for each batch."""

    batch: int = 32
    """Streams of text that are read in parallel."""
    time: int = 64
    """Time steps of a batch, and of backpropagation."""
    restart_every: int = 500
    """Number of batches after which a stream restarts from the initial state."""
    updates: int = 5000
    """Number of updates of the parameters."""
    learning_rate: float = 3e-3
    """Peak learning rate of Adam; it warms up, then decays to a tenth."""
    average: float = 0.998
    """Decay of the moving average of the parameters, which is evaluated."""
    seed: int = 0
    """Seed of the initial weights and of dropout."""

    evaluate_every: int = 1000
    """Updates between evaluations on the held-out text."""
    held_out: float = 0.1
    """Fraction of the text, at its end, that is never trained on."""
    sample: int = 600
    """Number of symbols to sample at the end."""


SMALL = Config(
    cells=("LSTM", "RGLRU"),
    parameters=30_000,
    batch=8,
    time=16,
    updates=100,
    learning_rate=1e-2,
    average=0.0,
    evaluate_every=50,
    sample=100,
)


def main(config: Config, run: Run) -> Results:
    """Trains the models one after the other, and compares them with counts of contexts."""
    source = "karpathy/char-rnn, data/tinyshakespeare (public domain)"
    file = config.text or find(
        config.data_dir, "tinyshakespeare/input.txt", f"github.com/{source}"
    )
    data = text.load(file, config.held_out)
    baselines = {
        "unigram": text.context_bits(data, 0),
        "bigram": text.context_bits(data, 1),
        "5 symbols": text.context_bits(data, 5),
    }
    rows = tuple(train(config, run, data, cell, baselines) for cell in config.cells)
    curves = {str(cell): run.metrics(cell) for cell in config.cells}
    draw(run.picture, data.name, curves, baselines)
    return Results(rows)


def train(
    config: Config, run: Run, data: text.Text, cell: Cell, baselines: dict[str, float]
) -> Result:
    """Trains, evaluates and samples one model."""
    model = make_model(cell, config.parameters, config.dropout)
    params = model.init(jax.random.key(config.seed))
    recurrent = cell in ("LSTM", "GRU")
    batches = training.TextBatches(
        data.train, config.batch, config.time, config.restart_every
    )
    evaluate = text.make_evaluate(model, data.held_out)
    params, seconds = fit(
        run,
        cell,
        params,
        text.make_loss(model, config.weight_drop if recurrent else 0.0),
        batches.__getitem__,
        text.warm_adam(config.learning_rate, config.updates),
        updates=config.updates,
        carry=text.initial_carry(model, params, config.batch),
        seed=config.seed,
        max_norm=1.0,
        average=config.average,
        evaluate=lambda params: {"bits": evaluate(params)},
        evaluate_every=config.evaluate_every,
    )
    prompt = bytes(data.held_out[:64].astype(np.uint8).tolist())
    sample = text.write(model, params, prompt, config.sample, config.seed)
    write_whole(run.folder / cell / "sample.txt", sample)
    run.say(
        f"After the first 64 symbols of the held-out text, {cell} writes:\n{sample}"
    )
    bits = [line["bits"] for line in run.metrics(cell) if "bits" in line][-1]
    return Result(
        "next character (many-to-many)",
        cell,
        count(params),
        "bits per character",
        (bits,),
        seconds,
        goal=GOALS.get(cell, ""),
        baselines=baselines,
        published=PUBLISHED,
    )
