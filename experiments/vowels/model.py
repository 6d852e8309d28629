"""The classifier: a GRU in both directions, and the mean of its scores over the valid steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn

from .data import Sequences


def make_model(features: int, hidden: int, speakers: int, dropout: float) -> Any:
    """A bidirectional GRU, dropout, and scores of each speaker at each step."""
    return jaxrnn.Stack(
        (
            jaxrnn.Bidirectional(jaxrnn.GRU(features, hidden)),
            jaxrnn.Dropout(dropout),
            jaxrnn.Dense(2 * hidden, speakers),
        )
    )


def make_scores(model: jaxrnn.Layer) -> Callable[..., jax.Array]:
    """`scores(params, frames, lengths, key)`: log-odds of each speaker, `(B, speakers)`."""

    @jax.jit
    def scores(params, frames, lengths, key=None):
        _, ys = jaxrnn.unroll(model, params, frames, lengths=lengths, key=key)
        return jaxrnn.ops.mean_pool(ys, lengths)

    return scores


def make_loss(scores: Callable[..., jax.Array]) -> Callable[..., tuple[jax.Array, Any]]:
    """The mean cross-entropy of a batch."""

    def loss(params, carry, key, batch):
        logits = scores(params, batch.frames, batch.lengths, key)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.speakers)
        return jnp.mean(losses), carry

    return loss


def make_batches(
    data: Sequences, size: int, noise: float, cut: int, seed: int
) -> Callable[[int], Sequences]:
    """Random batches: each sequence gets noise and loses up to `cut` frames at its ends."""

    def batch(position: int) -> Sequences:
        random = np.random.default_rng((seed, position))
        chosen = data.pick(random.permutation(len(data.speakers))[:size])
        frames, lengths = np.zeros_like(chosen.frames), chosen.lengths.copy()
        for i, row in enumerate(chosen.rows()):
            lost = random.integers(min(cut, len(row) - 1) + 1)
            start = random.integers(lost + 1)
            lengths[i] -= lost
            kept = row[start : start + lengths[i]]
            frames[: lengths[i], i] = kept + noise * random.normal(size=kept.shape)
        return Sequences(frames, lengths, chosen.speakers)

    return batch
