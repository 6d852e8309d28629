"""LSTM, GRU, MinGRU and RGLRU as language models of one text, at equal parameters."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..common import Result, Results, Run, count, find, text
from .model import make_model
from .picture import draw


Cell = Literal["LSTM", "GRU", "MinGRU", "RGLRU"]
PUBLISHED = {"nanoGPT, 10.7 M parameters": 1.4697 / np.log(2)}
RECURRENT = ("LSTM", "GRU")
GOALS = {"LSTM": "at most 2.14"}


@dataclass(frozen=True)
class Config(text.TextOptions):
    """Train language models with four recurrences on Shakespeare, and sample from each.

    The text is by default tinyshakespeare in the folder of the data sets.
    """

    cells: tuple[Cell, ...] = ("LSTM", "GRU", "MinGRU", "RGLRU")
    """The recurrences to compare."""
    parameters: int = 1_350_000
    """The most parameters that a model may have."""

    dropout: float = 0.4
    """Fraction of features dropped after each layer during training."""
    weight_drop: float = 0.2
    """Fraction of recurrent weights of LSTM and GRU dropped for each batch."""
    restart_every: int = 500
    """Number of batches after which a stream restarts from the initial state."""
    updates: int = 5000
    """Number of updates of the parameters."""
    learning_rate: float = 3e-3
    """Peak learning rate of Adam; it warms up, then decays to a tenth."""
    average: float = 0.998
    """Decay of the moving average of the parameters, which is evaluated."""
    evaluate_every: int = 1000
    """Updates between evaluations on the held-out text."""
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
    if cell not in RECURRENT:  # these have no recurrent matrix to drop weights of
        config = dataclasses.replace(config, weight_drop=0.0)
    trained = text.train_model(config, run, cell, model, data)
    return Result(
        "next character (many-to-many)",
        cell,
        count(trained.params),
        "bits per character",
        (trained.bits,),
        trained.seconds,
        goal=GOALS.get(cell, ""),
        baselines=baselines,
        published=PUBLISHED,
    )
