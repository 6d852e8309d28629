"""Trains a network that reads pen-written digits, and one that writes characters."""

from dataclasses import dataclass
from statistics import mean

from ..common import Options, Result, Results, Run, count
from . import data, learn, pen
from .baselines import gaussians
from .model import Writer
from .picture import COLUMNS, draw
from .write import halves, nothing, written


@dataclass(frozen=True)
class Config(Options):
    """Read pen-written digits, and write characters stroke by stroke."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds; each one is a training of the network that reads digits."""
    reader_hidden: int = 64
    """Units of each direction of the network that reads."""
    reader_updates: int = 2000
    """Updates of the network that reads."""
    reader_batch: int = 64
    """Digits of a batch."""
    reader_learning_rate: float = 2e-3
    """First learning rate of RMSprop; it decays to a fiftieth."""

    hidden: int = 256
    """Units of each LSTM of the network that writes."""
    components: int = 20
    """Gaussians of the mixture."""
    dropout: float = 0.2
    """Fraction of outputs that are dropped in training."""
    longest: int = 64
    """Points of the longest character that is used."""
    batch: int = 64
    """Characters of a batch."""
    updates: int = 2000
    """Updates of the network that writes."""
    learning_rate: float = 3e-3
    """First learning rate of Adam; it decays to a fiftieth."""
    evaluate_every: int = 200
    """Updates between evaluations on the validation characters, which choose parameters."""
    bias: float = 0.6
    """Graves' b of the samples: 0 samples from the model itself."""
    lines: int = 3
    """Lines of sampled characters in the picture."""


SMALL = Config(
    seeds=(0,), reader_hidden=8, reader_updates=60, reader_batch=16,
    reader_learning_rate=1e-2, hidden=12, components=3, dropout=0.0, longest=12,
    batch=8, updates=80, learning_rate=2e-2, evaluate_every=40, lines=1,
)  # fmt: skip


TASK = "next movement of the pen (many-to-many)"
MEASURE = "nats per point"


def main(config: Config, run: Run) -> Results:
    """Trains all networks and draws a sheet of characters."""
    digits = data.load_digits(config.data_dir)
    found = data.load_characters(config.data_dir, config.longest)
    read = learn.read_digits(config, run, digits)
    unit = pen.spread(found.train)
    moves = [pen.movements(part, config.longest, unit) for part in found]
    nats = run.once("gaussians", lambda: gaussians(moves[0], moves[2]))
    rows, facts = [read], {"unit": unit, "characters": [*map(len, found)]}
    for components in (1, config.components):
        name = f"LSTM, {components} Gaussian{'s' * (components > 1)}"
        model = Writer(config.hidden, components, config.dropout)
        learned = learn.write_characters(config, run, model, found, unit)
        place, of_pen = learned.nats
        rows.append(
            Result(
                TASK, name, count(learned.params), MEASURE, (place + of_pen,),
                learned.seconds, baselines=dict(nats), headline=components > 1,
                goal="less than 1 Gaussian" if components > 1 else "",
            )
        )  # fmt: skip
        nats[name] = place + of_pen
        facts[name] = {"place": place, "pen": of_pen}
    real = pen.some(moves[2], COLUMNS * config.lines)
    beginnings = halves(real)
    again = lambda given, seed: pen.characters(
        written(model, learned.params, given, config.longest, config.bias, seed), unit
    )
    sheets = {
        "held-out characters": pen.characters(real, unit)[:COLUMNS],
        "written by the network": again(nothing(COLUMNS * config.lines), 0),
        "completed by the network, from the grey half of the held-out characters":
            again(beginnings, 1),
    }  # fmt: skip
    accuracies = {**read.baselines, read.cell: mean(read.values)}
    draw(run.picture, nats, accuracies, sheets, pen.characters(beginnings, unit))
    return Results(tuple(rows), facts)
