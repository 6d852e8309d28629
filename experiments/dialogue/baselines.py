"""Simpler methods: an n-gram model, and the reply to the most similar line."""

import itertools
from collections import Counter, defaultdict

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from .data import Conversation


class KneserNey:
    """An n-gram model with interpolated Kneser-Ney smoothing.

        p(w | c) = (max(0, N(c w) - d) + d N1+(c .) p(w | shorter c)) / N(c .)

    N counts occurrences at the highest order, and different words to the left below it; the
    lowest order is the uniform distribution. d is n1 / (n1 + 2 n2), of each order.

    Reference: Chen & Goodman 1999, doi:10.1006/csla.1999.0128; Ney, Essen, Kneser 1994.
    """

    def __init__(self, sequences: list[np.ndarray], order: int, vocabulary: int):
        self._vocabulary = vocabulary
        top = Counter(g for s in sequences for g in _grams(s.tolist(), order))
        # a gram that starts a sequence has no word to its left, and counts as it occurs
        starts = Counter(
            tuple(s[:n].tolist()) for s in sequences for n in range(1, order)
        )
        self._tables = []
        counts = top
        for n in range(order, 0, -1):
            self._tables.append(_Table(counts))
            lower: Counter[tuple[int, ...]] = Counter(gram[1:] for gram in counts)
            lower.update(g for g in starts if len(g) == n - 1)
            counts = lower

    def probability(self, context: list[int], word: int) -> float:
        """The probability of a word after all words of a context."""
        p = 1 / self._vocabulary
        for n, table in enumerate(reversed(self._tables)):
            if n <= len(context):
                p = table.mixed(tuple(context[len(context) - n :]), word, p)
        return p

    def nats(self, sequence: np.ndarray) -> np.ndarray:
        """The negative log-likelihood of each symbol but the first."""
        given = sequence.tolist()
        return -np.log(
            [self.probability(given[:t], given[t]) for t in range(1, len(given))]
        )


class _Table:
    """The counts of the n-grams of one order."""

    def __init__(self, counts: Counter):
        self._counts = counts
        self._total: dict[tuple, int] = defaultdict(int)
        self._kinds: dict[tuple, int] = defaultdict(int)
        for gram, count in counts.items():
            self._total[gram[:-1]] += count
            self._kinds[gram[:-1]] += 1
        ones, twos = (sum(c == k for c in counts.values()) for k in (1, 2))
        self._discount = ones / (ones + 2 * twos) if ones else 0.5

    def mixed(self, context: tuple[int, ...], word: int, lower: float) -> float:
        """The probability of a word, interpolated with the one of the order below."""
        total = self._total.get(context, 0)
        if not total:
            return lower
        own = max(0.0, self._counts.get((*context, word), 0) - self._discount)
        return (own + self._discount * self._kinds[context] * lower) / total


def _grams(symbols: list[int], order: int) -> list[tuple[int, ...]]:
    return [tuple(symbols[t : t + order]) for t in range(len(symbols) - order + 1)]


def nearest(train: list[Conversation], lines: list[str]) -> list[str]:
    """The reply to the training line that is most similar to each line, by TF-IDF."""
    pairs = [pair for c in train for pair in itertools.pairwise(c)]
    tfidf = TfidfVectorizer(analyzer=str.split)
    known = tfidf.fit_transform([line for line, _ in pairs])
    similar = (tfidf.transform(lines) @ known.T).toarray()
    return [pairs[i][1] for i in similar.argmax(axis=1)]
