"""The Japanese vowels: sequences of different lengths, one speaker each."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..common import DataError, find


SOURCE = (
    "timeseriesclassification.com, JapaneseVowels (Kudo et al. 1999; open), the two .ts "
    "files"
)


class Sequences(NamedTuple):
    """Sequences, padded with zeros: frames `(T, N, d)`, lengths `(N,)`, speakers `(N,)`."""

    frames: np.ndarray
    lengths: np.ndarray
    speakers: np.ndarray

    def rows(self) -> list[np.ndarray]:
        """Each sequence without its padding, `(length, d)`."""
        return [self.frames[:n, i] for i, n in enumerate(self.lengths)]

    def pick(self, which: np.ndarray) -> "Sequences":
        """Some of the sequences, by index or mask."""
        return Sequences(
            self.frames[:, which], self.lengths[which], self.speakers[which]
        )


class Vowels(NamedTuple):
    """The official split, with features standardized by the training part."""

    train: Sequences
    test: Sequences
    speakers: int


def load(data_dir: Path) -> Vowels:
    """Reads `japanese-vowels/JapaneseVowels_TRAIN.ts` and `_TEST.ts`."""
    files = [
        find(data_dir, f"japanese-vowels/JapaneseVowels_{part}.ts", SOURCE)
        for part in ("TRAIN", "TEST")
    ]
    (train, names), (test, test_names) = map(read_ts, files)
    width = train[0][0].shape[1]
    if names != test_names or test[0][0].shape[1] != width:
        raise DataError(
            f"{files[1]}: its classes and dimensions, {test_names}, {test[0][0].shape[1]}, "
            f"differ from those of {files[0].name}, {names}, {width}. Get both from {SOURCE}."
        )
    frames = np.concatenate([sequence for sequence, _ in train])
    mean, scale = frames.mean(axis=0), frames.std(axis=0)
    time = max(len(sequence) for sequence, _ in [*train, *test])
    pad = lambda rows: _padded(rows, time, mean, scale)
    return Vowels(pad(train), pad(test), len(names))


def read_ts(file: Path) -> tuple[list[tuple[np.ndarray, int]], list[str]]:
    """The sequences of a .ts file, `(length, d)` with a label each, and the class names.

    After `@data`, each line is `dimension:dimension:...:class`, where a dimension is its values
    at all time steps, separated by commas.
    """
    header, _, body = file.read_text(encoding="utf-8").partition("@data")
    fields = dict(
        line[1:].split(maxsplit=1)
        for line in header.splitlines()
        if line.startswith("@") and " " in line
    )
    try:
        width = int(fields["dimensions"])
        names = fields["classLabel"].split()[1:]
    except (KeyError, ValueError):
        raise DataError(
            f"{file}: the header has no @dimensions, @classLabel or @data; expected is a .ts "
            f"file of {SOURCE}."
        ) from None
    first = header.count("\n") + 1
    lines = enumerate(body.splitlines(), first)
    rows = [_row(f"{file}, line {n}", s, width, names) for n, s in lines if s.strip()]
    if not rows:
        raise DataError(
            f"{file} has no sequence after @data. Get it again from {SOURCE}."
        )
    return rows, names


def _row(where: str, line: str, width: int, names: list[str]) -> tuple[np.ndarray, int]:
    *dimensions, name = line.strip().split(":")
    if len(dimensions) != width or name not in names:
        raise DataError(
            f"{where}: {len(dimensions)} dimensions and the class {name!r}; expected are "
            f"{width} dimensions, separated by colons, and one of {', '.join(names)}."
        )
    try:
        values = np.array(
            [[float(v) for v in d.split(",")] for d in dimensions], np.float32
        ).T
    except ValueError:
        raise DataError(
            f"{where}: the dimensions have different lengths, or hold something that is not a "
            "number; expected are numbers separated by commas, as many in each dimension."
        ) from None
    if not np.isfinite(values).all():
        raise DataError(f"{where}: a value is not finite.")
    return values, names.index(name)


def _padded(
    rows: list[tuple[np.ndarray, int]], time: int, mean: np.ndarray, scale: np.ndarray
) -> Sequences:
    frames = np.zeros((time, len(rows), len(mean)), np.float32)
    for i, (sequence, _) in enumerate(rows):
        frames[: len(sequence), i] = (sequence - mean) / scale
    lengths = np.array([len(sequence) for sequence, _ in rows], np.int32)
    return Sequences(frames, lengths, np.array([label for _, label in rows], np.int32))
