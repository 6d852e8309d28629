"""Multi30k: pairs of sentences as symbols, in batches of similar lengths."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..common import DataError, find


SOURCE = (
    "https://github.com/multi30k/dataset, data/task1/tok (free for research; the files "
    "*.lc.norm.tok.de and .en of train, val and test_2016_flickr)"
)
UNKNOWN, EDGE = 0, 1
"""The symbols of an unknown word, and of the start and the end of a sentence."""

Sentences = list[list[str]]


class Split(NamedTuple):
    """Sentences in German and in English; those of the same index are a pair."""

    de: Sentences
    en: Sentences


def load(data_dir: Path) -> dict[str, Split]:
    """The splits `train`, `val` and `test`, the test sentences of 2016."""
    folder = find(data_dir, "multi30k-de-en", SOURCE)
    names = {"train": "train", "val": "val", "test": "test_2016_flickr"}
    return {split: _split(folder, name) for split, name in names.items()}


def _split(folder: Path, name: str) -> Split:
    file_de, file_en = (folder / f"{name}.lc.norm.tok.{lang}" for lang in ("de", "en"))
    de, en = _sentences(file_de), _sentences(file_en)
    if len(de) != len(en):
        raise DataError(
            f"{file_de} has {len(de)} lines and {file_en} has {len(en)}: line n of one must "
            f"be the translation of line n of the other. Get both from {SOURCE}."
        )
    return Split(de, en)


def _sentences(file: Path) -> Sentences:
    find(file.parent, file.name, SOURCE)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text ({error}): get it again.") from error
    sentences = [line.split() for line in lines]
    if not all(sentences) or not sentences:
        where = (
            "no line" if not sentences else f"no word in line {1 + sentences.index([])}"
        )
        raise DataError(f"{file} has {where}: one sentence a line is expected.")
    return sentences


class Vocabulary:
    """The words that occur at least `minimum` times, and their symbols."""

    def __init__(self, sentences: Sentences, minimum: int):
        counts = Counter(word for sentence in sentences for word in sentence)
        kept = sorted(word for word, count in counts.items() if count >= minimum)
        self.words = ["<unk>", "<edge>", *kept]
        self._symbols = {word: symbol for symbol, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def symbols(self, sentence: list[str]) -> list[int]:
        """The symbol of each word."""
        return [self._symbols.get(word, UNKNOWN) for word in sentence]


class Batch(NamedTuple):
    """Pairs of sentences, time-major: `inputs` start with the edge, `targets` end with it."""

    sources: np.ndarray
    source_lengths: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray
    lengths: np.ndarray


class Pairs:
    """Pairs of sentences as symbols, padded to one of a few numbers of steps.

    Each number of steps is one compiled program.
    """

    def __init__(
        self, split: Split, de: Vocabulary, en: Vocabulary, steps: tuple[int, ...]
    ):
        self.de = [de.symbols(sentence) for sentence in split.de]
        self.en = [en.symbols(sentence) for sentence in split.en]
        needed = [
            max(len(d), len(e) + 1) for d, e in zip(self.de, self.en, strict=True)
        ]
        largest = max(needed)
        self._steps = np.array([*(s for s in steps if s < largest), largest])
        self.shape = np.searchsorted(self._steps, needed)

    def __len__(self) -> int:
        return len(self.de)

    def batch(self, indices: np.ndarray) -> Batch:
        """The pairs of the indices; an index of -1 is a pair of length 0."""
        steps = self._steps[max(self.shape[i] for i in indices if i >= 0)]
        pairs = [(self.de[i], self.en[i]) if i >= 0 else ([], None) for i in indices]
        inputs = [[] if en is None else [EDGE, *en] for _, en in pairs]
        targets = [[] if en is None else [*en, EDGE] for _, en in pairs]
        return Batch(
            *_padded([de for de, _ in pairs], steps),
            _padded(inputs, steps)[0],
            *_padded(targets, steps),
        )

    def in_order(self, size: int) -> list[np.ndarray]:
        """All indices in batches of similar lengths; the last is filled up with -1."""
        order = np.argsort(self.shape, kind="stable")
        filled = np.pad(order, (0, -len(order) % size), constant_values=-1)
        return list(filled.reshape(-1, size))


def _padded(sentences: list[list[int]], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The symbols `(T, B)` and the lengths `(B,)`."""
    symbols = np.zeros((steps, len(sentences)), np.int32)
    for b, sentence in enumerate(sentences):
        symbols[: len(sentence), b] = sentence
    return symbols, np.array([len(s) for s in sentences], np.int32)


class Shuffled:
    """Batches of similar lengths in random order, which depends on the epoch alone."""

    def __init__(self, pairs: Pairs, size: int, seed: int):
        self._pairs, self._seed = pairs, seed
        self._size = min(size, len(pairs))
        self.per_epoch = len(pairs) // self._size
        self._epoch, self._indices = -1, np.zeros(0)

    def __getitem__(self, position: int) -> Batch:
        epoch, row = divmod(position, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._indices = epoch, self._order(epoch)
        return self._pairs.batch(self._indices[row])

    def _order(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng((self._seed, epoch))
        # shuffled before the stable sort, so that a batch is a random one of its lengths
        kept = rng.permutation(len(self._pairs))[: self.per_epoch * self._size]
        by_length = kept[np.argsort(self._pairs.shape[kept], kind="stable")]
        return rng.permutation(by_length.reshape(-1, self._size))
