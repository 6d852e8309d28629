"""Baselines that count: each note for itself, and each voice after its own last note."""

import numpy as np

from .data import STOP, SYMBOLS, VOICES, Batch, Piece, arrays


def baselines(train: list[Piece], test: list[Piece]) -> dict[str, float]:
    """Nats per time step of the test pieces, by baseline."""
    seen, unseen = arrays(train), arrays(test)
    return {
        "note unigram": notes(seen, unseen, markov=False),
        "note Markov": notes(seen, unseen, markov=True),
        "voice Markov": voices(seen, unseen),
    }


def notes(seen: Batch, unseen: Batch, *, markov: bool) -> float:
    """Each of the 88 notes is on with a probability of its own.

    With `markov`, the probability also depends on whether the note was on a step before.
    Every count starts at one half.
    """

    def contexts(batch: Batch) -> np.ndarray:
        return np.asarray(before(batch.roll), bool) & markov

    def each(batch: Batch, which: np.ndarray) -> np.ndarray:
        """How often a note was on, and off, in a context: `(2, 88)`."""
        on = batch.roll.astype(bool)
        here = which & valid(batch)[..., None]
        return np.stack([np.sum(here & on, (0, 1)), np.sum(here & ~on, (0, 1))])

    nats = 0.0
    for on in (False, True):
        counts = each(seen, contexts(seen) == on) + 0.5
        probabilities = counts / counts.sum(axis=0)
        nats -= np.sum(each(unseen, contexts(unseen) == on) * np.log(probabilities))
    return float(nats / unseen.lengths.sum())


def voices(seen: Batch, unseen: Batch) -> float:
    """A chord's k-th note from below depends on the k-th note of the chord before.

    The counts of a note and its last note are smoothed with those of the note alone.
    """
    nats = 0.0
    for k in range(VOICES + 1):
        pairs = np.zeros((SYMBOLS, SYMBOLS))
        np.add.at(pairs, transitions(seen, k), 1.0)
        alone = (pairs.sum(axis=0) + 0.1) / (pairs.sum() + 0.1 * SYMBOLS)
        smoothed = pairs + 10 * alone
        probabilities = smoothed / smoothed.sum(axis=1, keepdims=True)
        nats -= np.log(probabilities[transitions(unseen, k)]).sum()
    return float(nats / unseen.lengths.sum())


def transitions(batch: Batch, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k-th symbols of neighbouring chords, where the chord has not ended before."""
    now = batch.symbols
    counted = valid(batch)
    if k > 0:
        counted = counted & (now[..., k - 1] != STOP)
    last = before(now[..., k], STOP)
    return last[counted], now[..., k][counted]


def before(steps: np.ndarray, first: int = 0) -> np.ndarray:
    """The steps moved by one, so that each stands at the one after it."""
    return np.concatenate([np.full_like(steps[:1], first), steps[:-1]])


def valid(batch: Batch) -> np.ndarray:
    """`(T, B)`, True inside of a piece."""
    return np.arange(len(batch.roll))[:, None] < batch.lengths
