"""The networks: GRUs in both directions, pooled to one digit, or with CTC for strings."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn
from jaxrnn import training

from .batches import Batch
from .data import DIGITS


BLANK = DIGITS
Scores = Callable[..., jax.Array]


def make_model(
    features: int, hidden: int, layers: int, dropout: float, symbols: int
) -> Any:
    """Bidirectional GRUs with dropout after each, and scores of each symbol at each step."""
    parts: list[jaxrnn.Layer] = []
    for layer in range(layers):
        width = features if layer == 0 else 2 * hidden
        parts += [
            jaxrnn.Bidirectional(jaxrnn.GRU(width, hidden)),
            jaxrnn.Dropout(dropout),
        ]
    return jaxrnn.Stack((*parts, jaxrnn.Dense(2 * hidden, symbols)))


def make_scores(model: jaxrnn.Layer) -> Scores:
    """`scores(params, frames, lengths, key)`: log-odds at each step, `(T, B, symbols)`."""

    @jax.jit
    def scores(params, frames, lengths, key=None):
        return jaxrnn.unroll(model, params, frames, lengths=lengths, key=key)[1]

    return scores


def make_digit_loss(scores: Scores) -> Callable[..., tuple[jax.Array, Any]]:
    """Cross-entropy of the mean of the scores over the valid steps."""

    def loss(params, carry, key, batch):
        ys = scores(params, batch.frames, batch.lengths, key)
        logits = jaxrnn.ops.mean_pool(ys, batch.lengths)
        labels = batch.labels[:, 0]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(losses), carry

    return loss


def make_string_loss(scores: Scores) -> Callable[..., tuple[jax.Array, Any]]:
    """CTC: the negative log-likelihood of the digits, over all alignments, per digit.

    Reference: Graves et al. 2006, doi:10.1145/1143844.1143891.
    """

    def loss(params, carry, key, batch):
        ys = scores(params, batch.frames, batch.lengths, key)
        padding = ~training.valid_steps(batch.lengths, ys.shape[0]).T
        places = jnp.arange(batch.labels.shape[1])
        unused = places[None, :] >= batch.counts[:, None]
        losses = optax.ctc_loss(
            jnp.swapaxes(ys, 0, 1),
            padding.astype(ys.dtype),
            batch.labels,
            unused.astype(ys.dtype),
            blank_id=BLANK,
        )
        return jnp.sum(losses) / jnp.sum(batch.counts).astype(ys.dtype), carry

    return loss


def predict(scores: Scores, params: Any, batch: Batch) -> np.ndarray:
    """The most probable digit of each sequence."""
    ys = scores(params, batch.frames, batch.lengths)
    pooled = jaxrnn.ops.mean_pool(ys, jnp.asarray(batch.lengths))
    return np.asarray(pooled).argmax(-1)
