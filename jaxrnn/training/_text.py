"""Truncated batches of one long text, in order, so that the state can be carried on."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .._validate import check_sizes


class TextBatch(NamedTuple):
    """One batch, time-major: inputs, the symbols that follow them, and where to restart."""

    inputs: np.ndarray
    targets: np.ndarray
    resets: np.ndarray


@dataclass(frozen=True, eq=False)
class TextBatches:
    """A text cut into `batch` streams that are read side by side, `steps` at a time.

        stream b = symbols[b n : (b + 1) n],    n = len(symbols) // batch

    Batch k goes on where batch k - 1 stopped, so the state that `unroll` returns is what
    the next batch takes: truncated backpropagation through time. A batch depends on its
    position alone, which is all that a checkpoint need hold. After the last batch comes
    the first again, with `resets` True at its first step.

    A state that is only ever carried on leaves the initial state untrained, and a network
    may end up in a regime that it cannot reach from there: good on its own batches, lost
    on any new text. `restart_every` lets each stream start afresh now and then.

    Args:
        symbols: `(N,)` integers.
        batch: streams, B.
        steps: steps in a batch, T.
        restart_every: batches after which a stream starts from the initial state again,
            the streams one after the other; None for never.

    Raises:
        ValueError: for a text too short for one batch, or sizes below 1.

    Example:
        >>> import numpy as np
        >>> from jaxrnn import training
        >>> batches = training.TextBatches(np.arange(10), batch=2, steps=2)
        >>> batches[0].inputs.T.tolist(), batches[1].targets.T.tolist()
        ([[0, 1], [5, 6]], [[3, 4], [8, 9]])
    """

    symbols: np.ndarray
    batch: int
    steps: int
    restart_every: int | None = None

    def __post_init__(self):
        sizes = ("batch", "steps")
        check_sizes(self, *sizes, *(["restart_every"] if self.restart_every else []))
        if np.ndim(self.symbols) != 1 or len(self) == 0:
            raise ValueError(
                f"TextBatches: {np.shape(self.symbols)} symbols are too few for "
                f"{self.batch} streams of {self.steps} + 1. Give a longer text, or make "
                "batch or steps smaller."
            )

    def __len__(self) -> int:
        """Batches until the first comes again."""
        return (len(self.symbols) // self.batch - 1) // self.steps

    def __getitem__(self, position: int) -> TextBatch:
        """The batch at a position, counted on beyond the last."""
        start = position % len(self) * self.steps
        length = len(self.symbols) // self.batch
        streams = self.symbols[: length * self.batch].reshape(self.batch, length)
        window = streams[:, start : start + self.steps + 1].T
        resets = np.zeros((self.steps, self.batch), bool)
        resets[0] = start == 0
        if self.restart_every is not None:
            turns = np.arange(self.batch) * self.restart_every // self.batch
            resets[0] |= (position + turns) % self.restart_every == 0
        return TextBatch(window[:-1], window[1:], resets)
