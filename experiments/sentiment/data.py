"""Sentences of film reviews, positive and negative, as words and as symbols."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..common import DataError, find


SOURCE = "github.com/dennybritz/cnn-text-classification-tf, data (Pang & Lee 2005)"
UNKNOWN = 0


class Batch(NamedTuple):
    """Sentences as symbols `(T, B)`, their lengths, and whether they are positive."""

    symbols: np.ndarray
    lengths: np.ndarray
    positive: np.ndarray

    def draw(self, position: int, size: int, seed: int) -> "Batch":
        """The batch of an update: every epoch reads all sentences in a new order.

        Ten batches at a time are sorted by length, so that a batch has little padding.
        """
        each = len(self.lengths) // size
        epoch, number = divmod(position, each)
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(len(self.lengths))[: each * size]
        groups = np.split(order, np.arange(10 * size, len(order), 10 * size))
        by_length = [g[np.argsort(self.lengths[g], kind="stable")] for g in groups]
        batches = np.concatenate(by_length).reshape(each, size)
        chosen = batches[rng.permutation(each)[number]]
        lengths = self.lengths[chosen]
        steps = -(-lengths.max() // 8) * 8
        return Batch(self.symbols[:steps, chosen], lengths, self.positive[chosen])


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences, with words and punctuation between spaces, and whether each is positive."""

    texts: np.ndarray
    positive: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> "Sentences":
        return Sentences(self.texts[chosen], self.positive[chosen])

    def __len__(self) -> int:
        return len(self.texts)


def load(data_dir: Path) -> Sentences:
    """Both files; a sentence that both have stays in both."""
    folder = find(data_dir, "rt-polarity", SOURCE)
    texts, positive = [], []
    for name, label in (("rt-polarity.neg", 0), ("rt-polarity.pos", 1)):
        lines = read(folder / name)
        texts += lines
        positive += [label] * len(lines)
    return Sentences(np.array(texts, object), np.array(positive, np.int32))


def read(file: Path) -> list[str]:
    """The sentences of a file, one a line, in UTF-8 or Latin-1."""
    if not file.is_file():
        raise DataError(f"{file} does not exist. Get the data from {SOURCE}.")
    content = file.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    lines = [" ".join(line.split()) for line in text.split("\n")]
    lines = [line for line in lines if line]
    if len(lines) < 10 or "\0" in text:
        raise DataError(
            f"{file} has {len(lines)} lines of text; expected a sentence a line, as in "
            f"{SOURCE}."
        )
    return lines


class Vocabulary:
    """The words that occur at least twice in some texts; all others are one symbol."""

    def __init__(self, texts: Iterable[str]):
        counts = Counter(word for text in texts for word in text.split())
        known = sorted(word for word, count in counts.items() if count > 1)
        self._symbols = {word: number for number, word in enumerate(known, 1)}

    def __len__(self) -> int:
        return len(self._symbols) + 1

    def encode(self, sentences: Sentences) -> Batch:
        """Sentences as symbols; T is a multiple of 8, for few different shapes."""
        rows = [
            [self._symbols.get(word, UNKNOWN) for word in text.split()]
            for text in sentences.texts
        ]
        lengths = np.array([len(row) for row in rows], np.int32)
        symbols = np.full((-(-lengths.max() // 8) * 8, len(rows)), UNKNOWN, np.int32)
        for column, row in enumerate(rows):
            symbols[: len(row), column] = row
        return Batch(symbols, lengths, sentences.positive)
