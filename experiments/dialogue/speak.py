"""Replies: of a whole set of lines, and in a conversation that keeps its state."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from jaxrnn import decode

from .data import END, UNKNOWN, Vocabulary, words
from .model import Talker


LONGEST = 40
"""The largest number of words of a reply."""


def without_unknown(model: Talker, params: Any) -> Any:
    """The parameters of the layers, which never say the unknown word."""
    *lower, output = model.tied(params)
    return (*lower, output._replace(b=output.b.at[UNKNOWN].set(-1e9)))


def replies(
    model: Talker, params: Any, vocabulary: Vocabulary, before: list[np.ndarray]
) -> list[str]:
    """The most probable words after each beginning of a conversation, which ends in END."""
    params, layers = without_unknown(model, params), model.layers
    size, longest = 64, max(map(len, before)) - 1
    found = []
    for start in range(0, len(before), size):
        given = before[start : start + size]
        symbols = np.full((longest, size), END, np.int32)
        for b, one in enumerate(given):
            symbols[: len(one) - 1, b] = one[:-1]
        lengths = jnp.array([len(one) - 1 for one in given] + [0] * (size - len(given)))
        state, _ = jaxrnn.unroll(layers, params, symbols, lengths=lengths)
        first = jnp.full(size, END, jnp.int32)
        said = decode.greedy(layers, params, state, first, steps=LONGEST, stop=END)
        each = np.asarray(said.symbols).T, np.asarray(said.lengths)
        both = list(zip(*each, strict=True))[: len(given)]
        found += [vocabulary.text(line[:n].tolist()) for line, n in both]
    return found


class Bot:
    """A conversation: the state passes from each line to the next.

    Attributes:
        unknown: the words of the last line that are not in the vocabulary.
    """

    def __init__(
        self, model: Talker, params: Any, vocabulary: Vocabulary,
        temperature: float, top_p: float, seed: int,
    ):  # fmt: skip
        self._layers, self._params = model.layers, without_unknown(model, params)
        self._vocabulary, self._key = vocabulary, jax.random.key(seed)
        self._temperature, self._top_p = temperature, top_p
        one = self._layers.initial_state(self._params)
        self._state = jax.tree.map(lambda s: s[None], one)
        self.unknown: list[str] = []

    def reply(self, line: str) -> Iterator[str]:
        """Reads a line, and yields the words of the reply as they are sampled."""
        given = words(line)
        symbols = self._vocabulary.symbols(given)
        pairs = zip(given.split(), symbols, strict=True)
        self.unknown = [word for word, symbol in pairs if symbol == UNKNOWN]
        self._read([END, *symbols])
        last = jnp.full(1, END, jnp.int32)
        for _ in range(LONGEST):
            self._key, key = jax.random.split(self._key)
            said = decode.sample(
                self._layers, self._params, self._state, last, key,
                steps=1, stop=END, temperature=self._temperature, top_p=self._top_p,
            )  # fmt: skip
            last, self._state = said.symbols[-1], said.state
            if int(last[0]) == END:
                return
            yield self._vocabulary.words[int(last[0])]

    def _read(self, symbols: list[int]) -> None:
        # padded to a multiple of 32, so that few lengths are compiled
        steps = -(-len(symbols) // 32) * 32
        xs = np.full((steps, 1), END, np.int32)
        xs[: len(symbols), 0] = symbols
        lengths = jnp.array([len(symbols)])
        self._state, _ = jaxrnn.unroll(
            self._layers, self._params, xs, self._state, lengths=lengths
        )


def joined(said: list[str]) -> str:
    """Words as a line: no space before a punctuation mark."""
    return "".join(map(spaced, said)).strip()


def spaced(word: str) -> str:
    """The word with the space before it."""
    return word if word in ".,!?;:)%" else f" {word}"


def distinct(lines: list[str], n: int = 2) -> float:
    """Different n-grams over all n-grams of the lines."""
    grams = [
        tuple(line.split()[i : i + n])
        for line in lines
        for i in range(len(line.split()) - n + 1)
    ]
    return len(set(grams)) / max(1, len(grams))
