"""Every setting of the experiment; the command line is generated from this class."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Config:
    """Train a character-level LSTM language model, evaluate it, and sample from it."""

    text: Path | None = None
    """A text file; by default the source of Python's standard library."""
    runs: Path = Path("runs")
    """The folder that holds one folder per run."""
    name: str | None = None
    """The name of the run; by default that of the text, with a number if it is taken."""
    resume: Path | None = None
    """The folder of a run to continue, with its own settings; other options are ignored."""

    hidden: int = 256
    """Hidden units of each LSTM."""
    layers: int = 1
    """Number of stacked LSTMs."""
    embedding: int = 64
    """Features of a symbol's embedding."""
    dropout: float = 0.0
    """Fraction of features dropped after each LSTM during training."""
    weight_drop: float = 0.0
    """Fraction of recurrent weights dropped for each batch during training."""

    batch: int = 32
    """Streams of text that are read in parallel."""
    time: int = 64
    """Time steps of a batch, and of backpropagation."""
    restart_every: int = 32
    """Number of batches after which a stream restarts from the initial state."""
    updates: int = 2000
    """Number of updates of the parameters."""
    learning_rate: float = 5e-3
    """Peak learning rate of Adam; it warms up, then decays to a tenth."""
    max_norm: float = 1.0
    """Global norm above which the gradient is scaled down."""
    average: float = 0.0
    """Decay of the moving average of the parameters, which is evaluated; 0 for no average."""
    seed: int = 0
    """Seed of the initial weights and of dropout."""

    evaluate_every: int = 500
    """Updates between evaluations on the held-out text."""
    save_every: int = 200
    """Updates between checkpoints."""
    held_out: float = 0.1
    """Fraction of the text, at its end, that is never trained on."""
    sample: int = 400
    """Number of symbols to sample at the end."""
