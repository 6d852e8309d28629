"""Batches of one long text, in order, for truncated backpropagation through time."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .._validate import check_sizes


class TextBatch(NamedTuple):
    """One batch, time-major `(T, B)`: inputs, the symbols that follow them, and resets."""

    inputs: np.ndarray
    targets: np.ndarray
    resets: np.ndarray


@dataclass(frozen=True, eq=False)
class TextBatches:
    """A text split into `batch` streams that are read in parallel, `steps` at a time.

        stream b = symbols[b n : (b + 1) n],    n = len(symbols) // batch

    Batch k starts where batch k - 1 ended, so the state that `unroll` returns is the state to
    start the next batch from: truncated backpropagation through time. A batch depends on its
    position only, so a checkpoint needs only that number. The first batch follows the last,
    with `resets` True at its first step.

    The surprise: if the state is always carried over, the initial state is never trained. The
    network can then end up in a regime that it cannot reach from the initial state, and fail
    on any new text. `restart_every` makes each stream restart now and then.

    Args:
        symbols: `(N,)` integers.
        batch: the number of streams, B.
        steps: the steps of a batch, T.
        restart_every: the number of batches after which a stream restarts from the initial
            state; the restarts of the streams are spread evenly. None for no restarts.

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
                f"TextBatches: symbols of shape {np.shape(self.symbols)} are too few for "
                f"{self.batch} streams of {self.steps} + 1 symbols. Give a longer text, in "
                "one dimension, or a smaller batch or steps."
            )

    def __len__(self) -> int:
        """The number of different batches."""
        return (len(self.symbols) // self.batch - 1) // self.steps

    def __getitem__(self, position: int) -> TextBatch:
        """The batch at a position; positions beyond the last start over."""
        start = position % len(self) * self.steps
        length = len(self.symbols) // self.batch
        streams = self.symbols[: length * self.batch].reshape(self.batch, length)
        window = streams[:, start : start + self.steps + 1].T
        resets = np.zeros((self.steps, self.batch), bool)
        resets[0] = start == 0
        if self.restart_every is not None:
            offsets = np.arange(self.batch) * self.restart_every // self.batch
            resets[0] |= (position + offsets) % self.restart_every == 0
        return TextBatch(window[:-1], window[1:], resets)
