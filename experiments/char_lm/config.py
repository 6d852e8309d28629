"""Every setting of the experiment, and nothing else. The command line is made from it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Config:
    """Train a character-level LSTM language model, evaluate it, and let it write."""

    text: Path | None = None
    """A text file; the Python standard library's own source if none is given."""
    runs: Path = Path("runs")
    """The folder in which each run has a folder of its own."""
    name: str | None = None
    """The run's name; by default the text's, with a number if it is taken."""
    resume: Path | None = None
    """The folder of a run to go on with. Its own settings hold; all others are ignored."""

    hidden: int = 256
    """Units of each LSTM."""
    layers: int = 1
    """LSTMs one above the other."""
    embedding: int = 64
    """Features of a symbol."""
    dropout: float = 0.0
    """Share of features dropped after each LSTM, while training."""
    weight_drop: float = 0.0
    """Share of recurrent weights dropped for a batch, while training."""

    batch: int = 32
    """Streams of text read side by side."""
    time: int = 64
    """Steps that a gradient goes back."""
    restart_every: int = 32
    """Batches after which a stream starts from the initial state again."""
    updates: int = 2000
    """Updates of the parameters."""
    learning_rate: float = 5e-3
    """Adam's, at its peak; it rises over the first updates and falls to a tenth."""
    max_norm: float = 1.0
    """Global norm above which a gradient is scaled down."""
    average: float = 0.0
    """Weight of the past in the moving average of the parameters, which is what is
    evaluated; 0 for the parameters themselves."""
    seed: int = 0
    """Of the initial weights and of dropout."""

    evaluate_every: int = 500
    """Updates between two looks at the held-out text."""
    save_every: int = 200
    """Updates between two checkpoints."""
    held_out: float = 0.1
    """The share at the end of the text that is never trained on."""
    sample: int = 400
    """Symbols to write at the end."""
