"""Bach's chorales as chords, one a quarter note, and as arrays for a network."""

import json
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..common import DataError, find


FILE = "jsb-chorales/jsb-chorales-quarter.json"
SOURCE = (
    "https://github.com/czhuang/JSB-Chorales-dataset (public-domain music; the split of "
    "Boulanger-Lewandowski et al. 2012)"
)

LOWEST, NOTES = 21, 88
"""The lowest note of a piano as a MIDI number, and the number of its notes."""
STOP = NOTES
"""The symbol that ends a chord."""
SYMBOLS = NOTES + 1
VOICES = 4
"""The most notes of a chord."""

Chord: TypeAlias = tuple[int, ...]
"""MIDI numbers from the lowest to the highest note."""
Piece: TypeAlias = list[Chord]


class Chorales(NamedTuple):
    """The chorales of each part of the split."""

    train: list[Piece]
    valid: list[Piece]
    test: list[Piece]


class Batch(NamedTuple):
    """Pieces side by side, padded to the same number of steps.

    Attributes:
        roll: `(T, B, 88)`, 1 where a note sounds.
        symbols: `(T, B, 5)`, the notes of each chord from the lowest, then `STOP`.
        lengths: `(B,)`, the steps of each piece.
    """

    roll: np.ndarray
    symbols: np.ndarray
    lengths: np.ndarray


def load(data_dir: Path) -> Chorales:
    """Reads the chorales; DataError if the file is missing or broken."""
    path = find(data_dir, FILE, SOURCE)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: the file is not JSON: {error}.") from None
    parts = set(Chorales._fields)
    if not isinstance(content, dict) or not parts <= set(content):
        raise DataError(f"{path}: expected an object with the keys {sorted(parts)}.")
    return Chorales(*(_part(path, name, content[name]) for name in Chorales._fields))


def _part(path: Path, name: str, pieces: Any) -> list[Piece]:
    if not isinstance(pieces, list) or not pieces:
        raise DataError(f"{path}: {name!r} has to be a list of at least one piece.")
    return [_piece(f"{path}: piece {i} of {name!r}", p) for i, p in enumerate(pieces)]


def _piece(where: str, steps: Any) -> Piece:
    if not isinstance(steps, list) or not steps:
        raise DataError(f"{where}: expected a list of at least one chord.")
    return [_chord(f"{where}, step {t}", chord) for t, chord in enumerate(steps)]


def _chord(where: str, notes: Any) -> Chord:
    """The sorted notes of a chord. Some files have floats such as 60.0 in them."""
    if not isinstance(notes, list) or len(notes) > VOICES:
        raise DataError(f"{where}: expected a list of at most {VOICES} notes: {notes}.")
    highest = LOWEST + NOTES - 1
    for note in notes:
        whole = isinstance(note, int | float) and note == int(note)
        if not whole or not LOWEST <= note <= highest:
            raise DataError(
                f"{where}: a note is a MIDI number from {LOWEST} to {highest}: {note}."
            )
    if len(set(notes)) < len(notes):
        raise DataError(f"{where}: a note occurs twice: {notes}.")
    return tuple(sorted(int(note) for note in notes))


def arrays(pieces: list[Piece], time: int | None = None) -> Batch:
    """Pieces as one batch, padded to `time` steps, or to the longest piece."""
    lengths = np.array([len(piece) for piece in pieces], np.int32)
    time = time or int(lengths.max())
    roll = np.zeros((time, len(pieces), NOTES), np.float32)
    symbols = np.full((time, len(pieces), VOICES + 1), STOP, np.int32)
    for b, piece in enumerate(pieces):
        for t, chord in enumerate(piece):
            keys = np.array(chord, int) - LOWEST
            roll[t, b, keys] = 1
            symbols[t, b, : len(keys)] = keys
    return Batch(roll, symbols, lengths)


class Batches:
    """Batches of pieces in random order, each piece once an epoch; `self(position)`."""

    def __init__(self, pieces: list[Piece], size: int, seed: int):
        if not 1 <= size <= len(pieces):
            raise DataError(
                f"--batch {size}: give a number from 1 to {len(pieces)}, the pieces."
            )
        self._all, self._size, self._seed = arrays(pieces), size, seed
        self._each = len(pieces) // size

    def __call__(self, position: int) -> Batch:
        epoch, place = divmod(position, self._each)
        pick = np.random.default_rng((self._seed, epoch))
        order = pick.permutation(len(self._all.lengths))
        chosen = order[place * self._size :][: self._size]
        roll, symbols, lengths = self._all
        return Batch(roll[:, chosen], symbols[:, chosen], lengths[chosen])


def facts(pieces: Chorales) -> dict[str, Any]:
    """What the README says of the data."""
    in_c = sum(bool(piece[-1]) and piece[-1][0] % 12 == 0 for piece in pieces.train)
    return {
        "pieces": {name: len(part) for name, part in pieces._asdict().items()},
        "chords": {name: sum(map(len, p)) for name, p in pieces._asdict().items()},
        "training pieces that end over a C": in_c,
    }
