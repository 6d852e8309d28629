"""Splice junctions of primates (many-to-one), and the next base of a bacterium."""

from dataclasses import dataclass

from ..common import Options, Results, Run
from . import bases, data, junctions
from .picture import draw


@dataclass(frozen=True)
class Config(Options):
    """Classify splice junctions, and predict the bases of a genome."""

    folds: int = 10
    """Folds of the cross-validation of splice junctions."""
    splice_units: int = 48
    """Units of each GRU that reads a junction."""
    splice_layers: int = 2
    """Number of bidirectional layers."""
    splice_embedding: int = 8
    """Features of the embedding of a base."""
    splice_dropout: float = 0.3
    """Fraction of features dropped, the same for all bases of a sequence."""
    splice_batch: int = 64
    """Sequences of a batch."""
    splice_epochs: int = 12
    """Passes over the rows of a fold."""
    splice_learning_rate: float = 3e-3
    """Initial learning rate of AdamW, which decays to zero."""

    units: int = 256
    """Units of the GRU that reads a genome."""
    embedding: int = 16
    """Features of the embedding of a base there."""
    batch: int = 64
    """Stretches of the genome that are read in parallel."""
    time: int = 64
    """Bases of a batch, and of backpropagation."""
    restart_every: int = 32
    """Number of batches after which a stretch restarts from the initial state."""
    updates: int = 2000
    """Number of updates of the parameters."""
    learning_rate: float = 3e-3
    """Peak learning rate of Adam; it warms up, then decays to a tenth."""
    window: int = 512
    """Bases of a window, in evaluation."""
    streams: int = 64
    """Stretches read in parallel, in evaluation."""
    markov_orders: int = 11
    """The largest order of a Markov model that is tried."""
    mixture_order: int = 12
    """The longest context of the mixture."""
    strengths: tuple[float, ...] = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
    """Strengths of the shorter context in the mixture that are tried."""


SMALL = Config(
    folds=2, splice_units=6, splice_layers=1, splice_dropout=0.0, splice_batch=16,
    splice_epochs=8, splice_learning_rate=3e-2, units=8, embedding=4, batch=8,
    time=16, updates=100, learning_rate=2e-2, window=64, streams=4,
    markov_orders=4, mixture_order=4,
)  # fmt: skip


def main(config: Config, run: Run) -> Results:
    """Cross-validates the classifier, trains the model of bases, compares both."""
    rows_of_junctions = data.splice(config.data_dir)
    bacterium, phage = (data.genome(config.data_dir, name) for name in data.GENOMES)
    junction, effect = junctions.study(config, run, *rows_of_junctions)
    rows, facts, bars = bases.study(config, run, data.split(bacterium), phage)
    draw(run.picture, run.metrics("bases"), bars, effect)
    return Results((junction, *rows), facts)
