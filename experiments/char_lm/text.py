"""The text as bytes: each byte is a symbol, so no character is unknown."""

import sysconfig
from dataclasses import dataclass
from pathlib import Path

import numpy as np


VOCABULARY = 256
_NOT_SOURCE = {"site-packages", "dist-packages", "test", "tests", "idle_test"}


@dataclass(frozen=True, eq=False)
class Text:
    """A text, split into a part for training and a held-out part."""

    name: str
    train: np.ndarray
    held_out: np.ndarray


def load(path: Path | None, held_out: float) -> Text:
    """The text file at `path`, or the standard library's source; its end is held out."""
    if path is None:
        name, data = "stdlib", standard_library()
    elif path.is_file():
        name, data = path.stem, path.read_bytes()
    else:
        raise SystemExit(f"--text {path}: the file does not exist.")
    if not 0 < held_out < 1:
        raise SystemExit(f"--held-out {held_out}: give a fraction between 0 and 1.")
    symbols = np.frombuffer(data, np.uint8).astype(np.int32)
    cut = int(len(symbols) * (1 - held_out))
    return Text(name, symbols[:cut], symbols[cut:])


def standard_library() -> bytes:
    """The source of Python's standard library: every module but tests, in sorted order."""
    root = Path(sysconfig.get_path("stdlib"))
    files = sorted(
        path
        for path in root.rglob("*.py")
        if not _NOT_SOURCE & set(path.relative_to(root).parts)
    )
    return b"\n".join(path.read_bytes() for path in files)


def characters(symbols: np.ndarray) -> int:
    """The number of UTF-8 characters: bytes that do not continue a character."""
    return int(np.sum((symbols & 0xC0) != 0x80))


def unigram_bits(text: Text) -> float:
    """Bits per character of the held-out text under the frequencies of single symbols."""
    counts = np.bincount(text.train, minlength=VOCABULARY) + 1.0
    bits = -np.log2(counts / counts.sum())
    return float(bits[text.held_out].sum() / characters(text.held_out))


def bigram_bits(text: Text) -> float:
    """Bits per character of the held-out text under the frequencies of pairs of symbols.

    Each context is smoothed with the unigram frequencies, weighted as one observation.
    """
    pairs = text.train[:-1] * VOCABULARY + text.train[1:]
    counts = np.bincount(pairs, minlength=VOCABULARY**2).reshape(VOCABULARY, -1)
    unigram = np.bincount(text.train, minlength=VOCABULARY) + 1.0
    smoothed = counts + unigram / unigram.sum()
    bits = -np.log2(smoothed / smoothed.sum(axis=1, keepdims=True))
    before, after = text.held_out[:-1], text.held_out[1:]
    return float(bits[before, after].sum() / characters(after))
