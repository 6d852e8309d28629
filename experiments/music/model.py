"""Two networks that predict the next chord: note by note at once, or one note after another.

Both read the chords before with the same kind of cell. They differ in the output:

- `Factorised`: each of the 88 notes is on with a probability of its own;
- `Voices`: a second, small RNN predicts the notes of the chord from the lowest to the
  highest, then `STOP`, so that each note knows the notes below it.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

import jaxrnn
from jaxrnn import training

from .data import NOTES, STOP, SYMBOLS, VOICES, Batch


FEATURES = NOTES + 12 + 1
"""The inputs of the network over time: see `features`."""
CELLS = {"tanh": jaxrnn.Elman, "GRU": jaxrnn.GRU, "LSTM": jaxrnn.LSTM}


def reader(cell: str, hidden: int, dropout: float) -> jaxrnn.Stack:
    """The network over time. It reads `features`."""
    recurrent = CELLS[cell](FEATURES, hidden)
    return jaxrnn.Stack((recurrent, jaxrnn.Dropout(dropout)))


def features(chord: jax.Array) -> jax.Array:
    """`(..., 101)`: a chord's notes, their pitch classes, and 0, the mark of no chord."""
    padding = [(0, 0)] * (chord.ndim - 1)
    octaves = jnp.pad(chord, [*padding, (0, -NOTES % 12)])
    classes = octaves.reshape(*chord.shape[:-1], -1, 12).max(axis=-2)
    return jnp.pad(jnp.concatenate([chord, classes], axis=-1), [*padding, (0, 1)])


def no_chord() -> jax.Array:
    """The features before the first chord."""
    return jnp.zeros(FEATURES).at[-1].set(1)


def read(time: jaxrnn.Stack, params: Any, batch: Batch, key: Any) -> jax.Array:
    """`(T, B, ...)`: at each step, the output after the chords before it."""
    last = features(jnp.asarray(batch.roll)[:-1])
    first = jnp.broadcast_to(no_chord(), (1, *last.shape[1:]))
    xs = jnp.concatenate([first, last])
    lengths = jnp.asarray(batch.lengths)
    _, ys = jaxrnn.unroll(time, params, xs, lengths=lengths, key=key)
    return ys


def valid(batch: Batch) -> jax.Array:
    """`(T, B)`, True inside of a piece."""
    return training.valid_steps(jnp.asarray(batch.lengths), len(batch.roll))


def split(key: Any) -> tuple[Any, Any]:
    """Two keys; without a key, two times None."""
    return (None, None) if key is None else tuple(jax.random.split(key))


@dataclass(frozen=True)
class Factorised:
    """`log p(chord) = sum over notes of log Bernoulli(note)`."""

    cell: str
    hidden: int
    dropout: float

    @property
    def layer(self) -> jaxrnn.Stack:
        """The network over the chords of a piece."""
        time = reader(self.cell, self.hidden, self.dropout)
        return jaxrnn.Stack((*time.layers, jaxrnn.Dense(self.hidden, NOTES)))

    def init(self, key: Any) -> Any:
        """The initial parameters."""
        return self.layer.init(key)

    def nats(self, params: Any, batch: Batch, key: Any = None) -> jax.Array:
        """The mean negative log-likelihood of a chord."""
        logits = read(self.layer, params, batch, key)
        mask = valid(batch)
        return training.bernoulli(logits, batch.roll, mask)


class VoicesParams(NamedTuple):
    """Parameters of `Voices`."""

    time: Any
    start: Any
    symbols: Any
    notes: Any


@dataclass(frozen=True)
class Voices:
    """`log p(chord) = sum over k of log p(symbol_k | symbols below, chords before)`.

    The symbols of a chord are its notes from the lowest, then `STOP`, so that the sum is
    the exact log-likelihood of the chord.
    """

    cell: str
    hidden: int
    dropout: float
    units: int
    embedding: int
    START: ClassVar[int] = SYMBOLS
    """The symbol before the first note of a chord."""

    @property
    def time(self) -> jaxrnn.Stack:
        """The network over the chords of a piece."""
        return reader(self.cell, self.hidden, self.dropout)

    @property
    def symbols(self) -> jaxrnn.Embedding:
        """The vectors of the symbols."""
        return jaxrnn.Embedding(SYMBOLS + 1, self.embedding)

    @property
    def start(self) -> jaxrnn.Dense:
        """From a summary to the initial state of the network over notes."""
        return jaxrnn.Dense(self.hidden, self.units)

    @property
    def notes(self) -> jaxrnn.Stack:
        """The network over the notes of a chord. It reads a symbol and the summary."""
        cell = jaxrnn.GRU(self.embedding + self.hidden, self.units)
        dropout = jaxrnn.Dropout(self.dropout / 2)
        return jaxrnn.Stack((cell, dropout, jaxrnn.Dense(self.units, SYMBOLS)))

    def init(self, key: Any) -> VoicesParams:
        """The initial parameters."""
        layers = (self.time, self.start, self.symbols, self.notes)
        keys = jax.random.split(key, len(layers))
        return VoicesParams(
            *(layer.init(k) for layer, k in zip(layers, keys, strict=True))
        )

    def nats(self, params: VoicesParams, batch: Batch, key: Any = None) -> jax.Array:
        """The mean negative log-likelihood of a chord."""
        over_time, over_notes = split(key)
        hs = read(self.time, params.time, batch, over_time)
        hs = hs.reshape(-1, self.hidden)  # every chord of every piece is a sequence
        targets = jnp.asarray(batch.symbols).reshape(-1, VOICES + 1).T
        inputs = jnp.concatenate([jnp.full_like(targets[:1], self.START), targets[:-1]])
        chords = valid(batch).reshape(-1)
        counts = jnp.where(chords, 1 + jnp.sum(targets != STOP, axis=0), 0)
        xs = self.inputs(params, inputs, hs)
        state = self.initial(params, hs)
        _, logits = jaxrnn.unroll(
            self.notes, params.notes, xs, state, lengths=counts, key=over_notes
        )
        mask = training.valid_steps(counts, VOICES + 1)
        nats = training.cross_entropy(logits, targets, mask)  # the mean of a symbol
        symbols_per_chord = jnp.sum(mask) / jnp.sum(chords)
        return nats * symbols_per_chord

    def initial(self, params: VoicesParams, hs: jax.Array) -> Any:
        """The state of the network over notes before the lowest note of each chord."""
        _, started = jaxrnn.unroll(self.start, params.start, hs[None])
        return jnp.tanh(started[0]), (), ()

    def inputs(self, params: VoicesParams, symbols: jax.Array, hs: jax.Array) -> Any:
        """The inputs of the network over notes: `(5, chords, embedding + hidden)`."""
        _, vectors = jaxrnn.unroll(self.symbols, params.symbols, symbols)
        repeated = jnp.broadcast_to(hs, (len(symbols), *hs.shape))
        return jnp.concatenate([vectors, repeated], axis=-1)
