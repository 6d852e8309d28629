"""A trained classifier: its accuracy, and the contribution of each word."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from .data import UNKNOWN, Sentences, Vocabulary
from .model import Classifier
from .picture import Example


@dataclass(frozen=True, eq=False)
class Judge:
    """A model, its vocabulary and parameters, and the seconds of its training."""

    model: Classifier
    vocabulary: Vocabulary
    params: Any
    seconds: float

    def scores(self, symbols: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The scores of sentences `(T, B)`."""
        compiled = jax.jit(self.model.scores)
        return np.asarray(compiled(self.params, symbols, lengths))

    def accuracy(self, sentences: Sentences) -> float:
        """The accuracy in %."""
        batch = self.vocabulary.encode(sentences)
        found = self.scores(batch.symbols, batch.lengths) > 0
        return 100 * float(np.mean(found == batch.positive))

    def examples(self, sentences: Sentences, several: int = 6) -> list[Example]:
        """Some sentences of at most 24 words with the contribution of each word.

        A contribution is the change of the score when the word becomes unknown.
        """
        batch = self.vocabulary.encode(sentences)
        steps = min(24, len(batch.symbols))
        fitting = (batch.lengths >= steps // 2) & (batch.lengths <= steps)
        rng = np.random.default_rng(0)
        return [
            self._example(
                sentences.texts[i], batch.symbols[:steps, i], batch.positive[i]
            )
            for i in rng.permutation(np.flatnonzero(fitting))[:several]
        ]

    def _example(self, text: str, symbols: np.ndarray, positive: Any) -> Example:
        steps, length = len(symbols), len(text.split())
        copies = np.repeat(symbols[:, None], steps + 1, axis=1)
        np.fill_diagonal(copies, UNKNOWN)  # the last copy is whole
        scores = self.scores(copies, np.full(steps + 1, length))
        contributions = (scores[-1] - scores[:length]).tolist()
        return text, contributions, bool(positive), float(scores[-1])
