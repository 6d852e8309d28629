"""Conversations in YAML, as lower-case words, split by conversation."""

import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from ..common import DataError, find


SOURCE = (
    "chatterbot-corpus 1.3.3 on the Python package index (BSD-3), the English folder"
)
LEFT_OUT = ("coding",)
"""Files whose replies are programs: lower-case words without line breaks do not hold them."""

UNKNOWN, END = 0, 1
"""The symbols of an unknown word, and of the end of a line, which also starts the first."""

Conversation = tuple[str, ...]
"""The lines, of two speakers who alternate."""


def load(data_dir: Path) -> list[Conversation]:
    """The distinct conversations of at least two lines, in sorted order."""
    folder = find(data_dir, "dialogue", SOURCE)
    files = [file for file in sorted(folder.glob("*.yml")) if file.stem not in LEFT_OUT]
    if not files:
        raise DataError(f"{folder} has no file *.yml to read. Get them from {SOURCE}.")
    found = {tuple(words(line) for line in lines) for f in files for lines in _read(f)}
    kept = {lines for lines in found if len(lines) > 1 and all(lines)}
    if len(kept) < 10:
        raise DataError(
            f"{folder} has {len(kept)} distinct conversations of at least two lines, which "
            "are too few to hold some out: at least 10 are needed."
        )
    return sorted(kept)


def _read(file: Path) -> list[list[str]]:
    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not YAML in UTF-8: {error}") from error
    given = content.get("conversations") if isinstance(content, dict) else None
    if not isinstance(given, list):
        raise DataError(
            f"{file} has no list `conversations: [[line, reply, ...], ...]`."
        )
    for lines in given:
        # the corpus has a few conversations that a missing dash has made one string
        texts = lines if isinstance(lines, list) else [lines]
        if not all(isinstance(text, str) for text in texts):
            raise DataError(
                f"{file}: the conversation {lines!r} is not a list of lines."
            )
    return [lines for lines in given if isinstance(lines, list)]


def words(line: str) -> str:
    """The line in lower case, with spaces between words and punctuation marks."""
    plain = line.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return " ".join(re.findall(r"\w+(?:'\w+)*|[^\w\s]", plain))


class Split(NamedTuple):
    """Conversations to train on, to choose settings on, and to test on."""

    train: list[Conversation]
    val: list[Conversation]
    test: list[Conversation]


def split(conversations: list[Conversation], held_out: float, seed: int) -> Split:
    """Random conversations: a fraction `held_out` each for validation and for the test."""
    order = np.random.default_rng(seed).permutation(len(conversations))
    n = max(1, round(held_out * len(conversations)))
    mixed = [conversations[i] for i in order]
    return Split(mixed[2 * n :], mixed[:n], mixed[n : 2 * n])


class Vocabulary:
    """The words that occur at least `minimum` times, and their symbols."""

    def __init__(self, words: list[str]):
        self.words = words
        self._symbols = {word: symbol for symbol, word in enumerate(words)}

    @classmethod
    def of(cls, conversations: list[Conversation], minimum: int) -> "Vocabulary":
        """The vocabulary of the training conversations."""
        counts = Counter(
            w for lines in conversations for line in lines for w in line.split()
        )
        kept = sorted(word for word, count in counts.items() if count >= minimum)
        return cls(["<unk>", "<end>", *kept])

    def __len__(self) -> int:
        return len(self.words)

    def symbols(self, line: str) -> list[int]:
        """The symbol of each word."""
        return [self._symbols.get(word, UNKNOWN) for word in line.split()]

    def conversation(self, lines: Conversation) -> np.ndarray:
        """All symbols: the end of a line, then each line with its end."""
        return np.array(
            [END, *(s for line in lines for s in (*self.symbols(line), END))], np.int32
        )

    def text(self, symbols: list[int]) -> str:
        """The line of some symbols."""
        return " ".join(self.words[symbol] for symbol in symbols)


def in_reply(conversation: np.ndarray) -> np.ndarray:
    """Where a target, `conversation[1:]`, belongs to a line after the first."""
    return np.cumsum(conversation[:-1] == END) > 1
