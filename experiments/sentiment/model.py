"""A bidirectional GRU with each kind of dropout, and the largest output over the words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

import jaxrnn

from .data import UNKNOWN


@dataclass(frozen=True)
class Variant:
    """Rates of each kind of dropout.

    Attributes:
        plain: of the features of each word and of the pooled output, a new mask each time.
        variational: the same, but with one mask for all words of a sentence.
        words: of whole words, which become unknown.
        weights: of recurrent weights (DropConnect).
        zoneout: of units that keep their old state.
    """

    plain: float = 0.0
    variational: float = 0.0
    words: float = 0.0
    weights: float = 0.0
    zoneout: float = 0.0


VARIANTS = {
    "none": Variant(),
    "Dropout": Variant(plain=0.5),
    "VariationalDropout": Variant(variational=0.5),
    "words": Variant(words=0.1),
    "drop_connect": Variant(weights=0.5),
    "Zoneout": Variant(zoneout=0.2),
    "Dropout, words": Variant(plain=0.5, words=0.1),
}


@dataclass(frozen=True)
class Classifier:
    """The score of a sentence: above 0 for positive."""

    vocabulary: int
    embedding: int
    hidden: int
    variant: Variant

    @property
    def reader(self) -> jaxrnn.Stack:
        """The outputs of both directions at each word."""
        cell: Any = jaxrnn.GRU(self.embedding, self.hidden)
        if self.variant.zoneout:
            cell = jaxrnn.Zoneout(cell, self.variant.zoneout)
        return jaxrnn.Stack(
            (
                jaxrnn.Embedding(self.vocabulary, self.embedding),
                jaxrnn.Dropout(self.variant.plain),
                jaxrnn.VariationalDropout(self.variant.variational),
                jaxrnn.Bidirectional(cell),
            )
        )

    @property
    def judge(self) -> jaxrnn.Stack:
        """The score of the pooled outputs."""
        dropout = jaxrnn.Dropout(max(self.variant.plain, self.variant.variational))
        return jaxrnn.Stack((dropout, jaxrnn.Dense(2 * self.hidden, 1)))

    def init(self, key: jax.Array) -> tuple[Any, Any]:
        keys = jax.random.split(key)
        return self.reader.init(keys[0]), self.judge.init(keys[1])

    def scores(
        self, params: Any, symbols: Any, lengths: Any, key: Any = None
    ) -> jax.Array:
        """The scores `(B,)` of sentences `(T, B)`."""
        keys = (None, None) if key is None else jax.random.split(key)
        reader, judge = params
        _, ys = jaxrnn.unroll(
            self.reader, reader, symbols, lengths=lengths, key=keys[0]
        )
        pooled = jaxrnn.ops.max_pool(ys, lengths)
        return jaxrnn.unroll(self.judge, judge, pooled[None], key=keys[1])[1][0, :, 0]


def make_loss(model: Classifier) -> Callable[..., tuple[jax.Array, Any]]:
    """The cross-entropy of a batch, with the dropout of the variant."""
    variant = model.variant

    def loss(params, carry, key, batch):
        key, words_key, weights_key = jax.random.split(key, 3)
        unknown = jax.random.bernoulli(words_key, variant.words, batch.symbols.shape)
        symbols = jnp.where(unknown, UNKNOWN, batch.symbols)
        if variant.weights:
            params = jaxrnn.drop_connect(params, variant.weights, weights_key)
        scores = model.scores(params, symbols, batch.lengths, key)
        positive = batch.positive.astype(scores.dtype)
        return jnp.mean(optax.sigmoid_binary_cross_entropy(scores, positive)), carry

    return loss
