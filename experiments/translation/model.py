"""The translator: an encoder in both directions, and a decoder that attends to it."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jaxrnn
from jaxrnn import decode, training


@dataclass(frozen=True)
class Tanh(jaxrnn.layers.Stepwise):
    """`y = tanh(x)` at every step."""

    def init(self, key):
        return ()

    def apply(self, params, x):
        return jnp.tanh(x)


class Params(NamedTuple):
    """Parameters of `Translator`; the last matrix of the decoder is its embedding."""

    encoder: Any
    bridge: Any
    decoder: Any


@dataclass(frozen=True)
class Translator:
    """An encoder-decoder with attention.

        values = encoder(source),    state_0 = tanh(bridge(final state of both directions))
        logits = decoder(target, starting from state_0, attending to the values)

    The decoder's recurrence does not read the attention, so that teacher-forced training is
    parallel over time outside of it.
    """

    german: int
    english: int
    embedding: int
    hidden: int
    dropout: float

    @property
    def encoder(self) -> jaxrnn.Stack:
        """German symbols to values, one for each word."""
        drop = jaxrnn.Dropout(self.dropout)
        both = jaxrnn.Bidirectional(jaxrnn.GRU(self.embedding, self.hidden))
        embed = jaxrnn.Embedding(self.german, self.embedding)
        return jaxrnn.Stack((embed, drop, both, drop))

    @property
    def attention(self) -> jaxrnn.DotProductAttention:
        """The decoder's view of the values."""
        units = 2 * self.hidden
        return jaxrnn.DotProductAttention(units, units, size=self.hidden)

    @property
    def decoder(self) -> jaxrnn.Stack:
        """English symbols to the logits of the next ones."""
        e, h, v = self.embedding, 2 * self.hidden, self.english
        return jaxrnn.Stack(
            (
                jaxrnn.Embedding(v, e),
                jaxrnn.Dropout(self.dropout),
                jaxrnn.GRU(e, h),
                self.attention,
                jaxrnn.Dense(h + h, e),
                Tanh(),
                jaxrnn.Dropout(self.dropout),
                jaxrnn.Dense(e, v),
            )
        )

    @property
    def bridge(self) -> jaxrnn.Dense:
        """The encoder's final state to the decoder's first."""
        return jaxrnn.Dense(2 * self.hidden, 2 * self.hidden)

    def init(self, key: Any) -> Params:
        """Fresh parameters."""
        k_encoder, k_bridge, k_decoder = jax.random.split(key, 3)
        *lower, output = self.decoder.init(k_decoder)
        return Params(
            self.encoder.init(k_encoder),
            self.bridge.init(k_bridge),
            (*lower, output._replace(w=None)),
        )

    def tied(self, params: Params) -> Any:
        """The decoder's parameters, with the embedding as the matrix of the last layer."""
        *lower, output = params.decoder
        return (*lower, output._replace(w=lower[0].table.T))

    def read(self, params: Params, sources: Any, lengths: Any, key: Any = None) -> Any:
        """The state of the decoder before its first step."""
        final, values = jaxrnn.unroll(
            self.encoder, params.encoder, sources, lengths=lengths, key=key
        )
        both = jaxrnn.layers.concatenate(*final[2])
        first = jnp.tanh(jax.vmap(partial(self.bridge.apply, params.bridge))(both))
        memory = self.attention.memory(params.decoder[3], values, lengths)
        return ((), (), first, memory, (), (), (), ())

    def weights(self, params: Params, state: Any, inputs: Any) -> Any:
        """The attention weights `(T, B, S)` of each step of the decoder."""
        below = jaxrnn.Stack(self.decoder.layers[:3])
        _, queries = jaxrnn.unroll(below, params.decoder[:3], inputs, state[:3])
        return self.attention.weights(params.decoder[3], state[3], queries)


def smoothed(logits: Any, targets: Any, lengths: Any, smoothing: float) -> Any:
    """The cross-entropy with targets that are mixed with the uniform distribution."""
    mask = training.valid_steps(lengths, len(targets))
    chosen = training.cross_entropy(logits, targets, mask)
    if not smoothing:
        return chosen
    log_z = jax.nn.logsumexp(logits, axis=-1)
    uniform = training.masked_mean(log_z - jnp.mean(logits, axis=-1), mask)
    return (1 - smoothing) * chosen + smoothing * uniform


def make_loss(model: Translator, smoothing: float, sampling: float = 0.0) -> Any:
    """The loss of a batch; `sampling` is the probability that an input is sampled."""

    def loss(params, carry, key, batch):
        k_encoder, k_decoder = jax.random.split(key)
        state = model.read(params, batch.sources, batch.source_lengths, k_encoder)
        decoder, tied, lengths = model.decoder, model.tied(params), batch.lengths
        if sampling:
            _, logits = decode.scheduled_sampling(
                decoder, tied, state, batch.inputs, k_decoder,
                probability=sampling, lengths=lengths,
            )  # fmt: skip
        else:
            _, logits = jaxrnn.unroll(
                decoder, tied, batch.inputs, state, lengths=lengths, key=k_decoder
            )
        return smoothed(logits, batch.targets, batch.lengths, smoothing), carry

    return loss
