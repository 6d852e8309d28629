"""Two models of the tags of a clip, with the same encoder of frames."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import jaxrnn

from .data import SIZE, TAGS


class _Convolutions(nn.Module):
    """Features of a frame `(..., SIZE, SIZE)`: which shapes there are, and where."""

    channels: int
    features: int

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(self.channels, (4, 4), strides=(2, 2))(x[..., None])
        x = nn.relu(x)
        which = nn.relu(nn.Conv(self.features, (5, 5))(x)).max((-3, -2))
        where = nn.relu(nn.Dense(self.features)(x.reshape(*x.shape[:-3], -1)))
        return jnp.concatenate([which, where], axis=-1)


@dataclass(frozen=True)
class Encoder(jaxrnn.Stepwise):
    """A convolutional network, applied to each frame: a flax module as a jaxrnn layer."""

    channels: int
    features: int

    @property
    def _module(self) -> nn.Module:
        return _Convolutions(self.channels, self.features)

    def init(self, key):
        return self._module.init(key, jnp.zeros((SIZE, SIZE)))

    def apply(self, params, x):
        return self._module.apply(params, x)


@dataclass(frozen=True)
class Relu(jaxrnn.Stepwise):
    """The positive part of its input."""

    def init(self, key):
        return ()

    def apply(self, params, x):
        return jax.nn.relu(x)


def recurrent(channels: int, features: int, hidden: int) -> jaxrnn.Stack:
    """Scores of the tags at each frame, from this frame and all before it."""
    encoder = Encoder(channels, features)
    gru = jaxrnn.GRU(2 * features, hidden)
    return jaxrnn.Stack((encoder, gru, jaxrnn.Dense(hidden, len(TAGS))))


def frames_only(channels: int, features: int, hidden: int) -> jaxrnn.Stack:
    """Scores of the tags at each frame, from this frame alone."""
    encoder = Encoder(channels, features)
    dense = jaxrnn.Dense(2 * features, hidden)
    return jaxrnn.Stack((encoder, dense, Relu(), jaxrnn.Dense(hidden, len(TAGS))))


def make_loss(model: jaxrnn.Layer) -> Callable[..., tuple[jax.Array, Any]]:
    """The cross-entropy of the tags, summed; a clip's scores are the mean over its frames."""

    def loss(params, carry, key, batch):
        _, ys = jaxrnn.unroll(model, params, as_floats(batch.frames))
        tags = batch.tags.astype(ys.dtype)
        losses = optax.sigmoid_binary_cross_entropy(jnp.mean(ys, axis=0), tags)
        return jnp.mean(jnp.sum(losses, axis=-1)), carry

    return loss


def as_floats(frames: jax.Array) -> jax.Array:
    """Brightness from 0 to 1."""
    return frames.astype(jnp.float32) / 255
