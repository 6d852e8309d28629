"""A convolutional encoder of pictures, and an LSTM that writes names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

import jaxrnn
from jaxrnn import training
from jaxrnn.cells import LSTMState

from .data import END, SIDE


class Batch(NamedTuple):
    """Pictures `(B, 32, 32, 3)`, their names `(T, B)`, and the lengths of these."""

    pictures: Any
    names: Any
    lengths: Any


class Encoder(nn.Module):
    """Features of pictures `(B, 32, 32, 3)`, and the first state of the LSTM."""

    channels: int
    features: int
    hidden: int

    @nn.compact
    def __call__(self, x):
        x = 2 * x - 1
        for wider, size in ((1, 4), (2, 3), (3, 3)):
            x = nn.Conv(wider * self.channels, (size, size), strides=(2, 2))(x)
            x = nn.relu(x)
        x = nn.relu(nn.Dense(self.features)(x.reshape(len(x), -1)))
        h, c = jnp.split(nn.Dense(2 * self.hidden)(x), 2, axis=-1)
        return x, LSTMState(h=jnp.tanh(h), c=c)


@dataclass(frozen=True)
class Beside(jaxrnn.Cell):
    """The features of a picture, its state, joined to each word: `y = (x, s)`, `s' = s`."""

    features: int

    def init(self, key):
        return ()

    def initial_state(self, params):
        return jnp.zeros(self.features)

    def project(self, params, x):
        return x

    def recur(self, params, state, z):
        return state

    def readout(self, params, state, z):
        return jnp.concatenate([z, state], axis=-1)


@dataclass(frozen=True)
class Captioner:
    """The two networks; the name is written from the picture's state on."""

    vocabulary: int
    channels: int
    features: int
    embedding: int
    hidden: int
    dropout: float

    @property
    def encoder(self) -> Encoder:
        return Encoder(self.channels, self.features, self.hidden)

    @property
    def writer(self) -> jaxrnn.Stack:
        """Scores of the next word, from the words so far."""
        return jaxrnn.Stack(
            (
                jaxrnn.Embedding(self.vocabulary, self.embedding),
                Beside(self.features),
                jaxrnn.Dropout(self.dropout),
                jaxrnn.LSTM(self.embedding + self.features, self.hidden),
                jaxrnn.Dropout(self.dropout),
                jaxrnn.Dense(self.hidden, self.vocabulary),
            )
        )

    def init(self, key: jax.Array) -> tuple[Any, Any]:
        keys = jax.random.split(key)
        return (
            self.encoder.init(keys[0], jnp.zeros((1, SIDE, SIDE, 3))),
            self.writer.init(keys[1]),
        )

    def state(self, params: Any, pictures: jax.Array) -> tuple[Any, ...]:
        """The state of `writer` that each picture gives."""
        features, state = self.encoder.apply(params[0], pictures)
        return (), features, (), state, (), ()

    def logits(
        self, params: Any, pictures: Any, names: Any, key: Any = None
    ) -> jax.Array:
        """Scores of each word of known names `(T, B)`, each from the words before it."""
        start = jnp.full_like(names[:1], END)
        inputs = jnp.concatenate([start, names[:-1]])
        state = self.state(params, pictures)
        return jaxrnn.unroll(self.writer, params[1], inputs, state, key=key)[1]


def make_loss(model: Captioner) -> Callable[..., tuple[jax.Array, Any]]:
    """The cross-entropy of a word, its end included, in nats."""

    def loss(params, carry, key, batch):
        logits = model.logits(params, batch.pictures, batch.names, key)
        mask = training.valid_steps(batch.lengths, len(batch.names))
        return training.cross_entropy(logits, batch.names, mask), carry

    return loss
