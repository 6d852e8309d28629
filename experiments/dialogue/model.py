"""The language model of conversations, its batches, its loss and its perplexity."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from jaxrnn import training

from .data import END, UNKNOWN, in_reply


@dataclass(frozen=True)
class Talker:
    """A language model of conversations: embedding, GRU, and a linear layer to the next word.

    The matrix of the last layer is that of the embedding, so it is no parameter: `tied`
    puts it where the layers need it.
    """

    vocabulary: int
    hidden: int
    dropout: float = 0.0

    @property
    def layers(self) -> jaxrnn.Stack:
        """The layers, with dropout around the GRU."""
        drop, h = jaxrnn.VariationalDropout(self.dropout), self.hidden
        return jaxrnn.Stack(
            (
                jaxrnn.Embedding(self.vocabulary, h),
                drop,
                jaxrnn.GRU(h, h),
                drop,
                jaxrnn.Dense(h, self.vocabulary),
            )
        )

    def init(self, key: Any) -> Any:
        """Fresh parameters."""
        *lower, output = self.layers.init(key)
        return (*lower, output._replace(w=None))

    def tied(self, params: Any) -> Any:
        """The parameters of `layers`."""
        *lower, output = params
        return (*lower, output._replace(w=lower[0].table.T))


class Batch(NamedTuple):
    """Symbols, the next ones, and True where a conversation starts, each `(T, B)`."""

    inputs: np.ndarray
    targets: np.ndarray
    resets: np.ndarray


class Batches:
    """Windows of streams of conversations, which are shuffled for every epoch.

    A batch depends on its position alone. The state passes from a window to the next one of
    its stream, and from an epoch to the next, where a new conversation starts.
    """

    def __init__(
        self, conversations: list[np.ndarray], batch: int, steps: int, seed: int
    ):
        self._conversations, self._batch, self._seed = conversations, batch, seed
        total = sum(len(c) - 1 for c in conversations)
        self._steps = max(1, min(steps, total // batch))
        self.per_epoch = total // (batch * self._steps)
        self._epoch, self._windows = -1, Batch(*3 * [np.zeros(0)])

    def __getitem__(self, position: int) -> Batch:
        epoch, k = divmod(position, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._windows = epoch, self._mixed(epoch)
        window = slice(k * self._steps, (k + 1) * self._steps)
        return Batch(*(part[window] for part in self._windows))

    def _mixed(self, epoch: int) -> Batch:
        order = np.random.default_rng((self._seed, epoch)).permutation(
            len(self._conversations)
        )
        mixed = [self._conversations[i] for i in order]
        starts = [np.arange(len(c) - 1) == 0 for c in mixed]
        parts = [c[:-1] for c in mixed], [c[1:] for c in mixed], starts
        length = self.per_epoch * self._steps
        streams = [
            np.concatenate(part)[: length * self._batch].reshape(self._batch, length).T
            for part in parts
        ]
        streams[2] = streams[2] | (np.arange(length) == 0)[:, None]
        return Batch(*streams)


def make_loss(model: Talker, weight_drop: float, unknown: float) -> Callable[..., Any]:
    """Nats per word of a batch, and the state that the next batch starts from.

    `unknown` is the fraction of input words that are replaced by the unknown word.
    """

    def loss(params, carry, key, batch):
        k_drop, k_weights, k_words = jax.random.split(key, 3)
        params = jaxrnn.drop_connect(model.tied(params), weight_drop, k_weights)
        replaced = jax.random.bernoulli(k_words, unknown, batch.inputs.shape)
        replaced &= batch.inputs != END
        inputs = jnp.where(replaced, UNKNOWN, batch.inputs)
        carry, logits = jaxrnn.unroll(
            model.layers, params, inputs, carry, resets=batch.resets, key=k_drop
        )
        return training.cross_entropy(logits, batch.targets), carry

    return loss


class Replies(NamedTuple):
    """Held-out conversations, padded: symbols `(T + 1, B)`, and the targets that count."""

    symbols: np.ndarray
    lengths: np.ndarray
    counted: np.ndarray


def padded(conversations: list[np.ndarray], size: int) -> list[Replies]:
    """The conversations in batches of one shape; the last is filled up with empty ones."""
    longest = max(map(len, conversations))
    found = []
    for start in range(0, len(conversations), size):
        symbols = np.full((longest, size), END, np.int32)
        lengths = np.zeros(size, np.int32)
        counted = np.zeros((longest - 1, size), bool)
        for b, given in enumerate(conversations[start : start + size]):
            symbols[: len(given), b], lengths[b] = given, len(given) - 1
            counted[: len(given) - 1, b] = in_reply(given)
        found.append(Replies(symbols, lengths, counted))
    return found


def make_nats(model: Talker, replies: list[Replies]) -> Callable[[Any], np.ndarray]:
    """`nats(params)`: the negative log-likelihood of each word of all replies."""

    @jax.jit
    def of_batch(params, batch):
        inputs, targets = batch.symbols[:-1], batch.symbols[1:]
        _, logits = jaxrnn.unroll(
            model.layers, model.tied(params), inputs, lengths=batch.lengths
        )
        log_p = jax.nn.log_softmax(logits, axis=-1)
        return -jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]

    def nats(params):
        each = [(np.asarray(of_batch(params, b)), b.counted) for b in replies]
        return np.concatenate([values.T[counted.T] for values, counted in each])

    return nats
