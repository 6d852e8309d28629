"""A network that reads digits, and one that writes characters."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jaxrnn
from jaxrnn import training

from .pen import Movements


SMALLEST = 0.02
"""The smallest standard deviation of a component, in units of the offsets."""


@dataclass(frozen=True)
class Reader:
    """A bidirectional GRU over the points of a digit, and a linear layer to ten classes."""

    hidden: int
    dropout: float

    @property
    def _layers(self) -> tuple[jaxrnn.Layer, jaxrnn.Layer]:
        both = jaxrnn.Bidirectional(jaxrnn.GRU(4, self.hidden))
        dropout = jaxrnn.Dropout(self.dropout)
        return (
            jaxrnn.Stack((both, dropout)),
            jaxrnn.Dense(2 * self.hidden, 10),
        )

    def init(self, key: Any) -> Any:
        """The initial parameters."""
        keys = jax.random.split(key)
        return tuple(layer.init(k) for layer, k in zip(self._layers, keys, strict=True))

    def logits(self, params: Any, points: jax.Array, key: Any = None) -> jax.Array:
        """`(B, 10)`. `points` is `(B, 8, 2)`, from 0 to 100."""
        places = jnp.swapaxes(points, 0, 1) / 50 - 1
        steps = jnp.concatenate([jnp.zeros_like(places[:1]), jnp.diff(places, axis=0)])
        xs = jnp.concatenate([places, steps], axis=-1)
        recurrent, linear = self._layers
        _, ys = jaxrnn.unroll(recurrent, params[0], xs, key=key)
        _, logits = jaxrnn.unroll(linear, params[1], jaxrnn.ops.max_pool(ys)[None])
        return logits[0]


class Mixture(NamedTuple):
    """Gaussians of the next offset, `(..., components)` each, and the pen after it.

    Attributes:
        weights: the logarithms of the weights.
        mean: `(..., 2, components)`.
        deviation: the standard deviations, `(..., 2, components)`.
        correlation: between both axes.
        pen: scores of `DRAW`, `LIFT` and `END`.
    """

    weights: jax.Array
    mean: jax.Array
    deviation: jax.Array
    correlation: jax.Array
    pen: jax.Array


@dataclass(frozen=True)
class Writer:
    """LSTMs that predict the next movement of the pen as a mixture of Gaussians.

    Reference: Graves 2013, arXiv:1308.0850, section 4.
    """

    hidden: int
    components: int
    dropout: float

    @property
    def layer(self) -> jaxrnn.Stack:
        """Two LSTMs with skip connections, and a linear layer to the mixture."""
        lower = jaxrnn.LSTM(FEATURES, self.hidden)
        upper = jaxrnn.LSTM(FEATURES + self.hidden, self.hidden)
        outputs = jaxrnn.Dense(2 * self.hidden, 6 * self.components + 3)
        dropout = jaxrnn.Dropout(self.dropout)
        return jaxrnn.Stack((jaxrnn.SkipStack((lower, upper)), dropout, outputs))

    def init(self, key: Any) -> Any:
        """The initial parameters."""
        return self.layer.init(key)

    def mixture(self, outputs: jax.Array) -> Mixture:
        """The mixture that the linear layer's outputs stand for."""
        m = self.components
        pi, mean, log_deviation, rho, pen = jnp.split(
            outputs, (m, 3 * m, 5 * m, 6 * m), axis=-1
        )
        pairs = (*outputs.shape[:-1], 2, m)
        deviation = SMALLEST + jnp.exp(log_deviation.reshape(pairs))
        return Mixture(
            jax.nn.log_softmax(pi),
            mean.reshape(pairs),
            deviation,
            0.99 * jnp.tanh(rho),
            jax.nn.log_softmax(pen),
        )

    def nats(
        self, params: Any, batch: Movements, key: Any = None
    ) -> tuple[jax.Array, jax.Array]:
        """The mean negative log-likelihood of a point: of its place, and of the pen."""
        offsets, pen = jnp.asarray(batch.offsets), jnp.asarray(batch.pen)
        lengths = jnp.asarray(batch.lengths)
        xs = inputs(offsets, pen)
        _, outputs = jaxrnn.unroll(self.layer, params, xs, lengths=lengths, key=key)
        predicted = self.mixture(outputs)
        mask = training.valid_steps(lengths, len(pen))
        place = training.masked_mean(-log_density(predicted, offsets), mask)
        return place, training.cross_entropy(predicted.pen, pen, mask)


FEATURES = 2 + 2 + 3 + 1
"""The last offset, the place of the pen, its state, and the mark of the first step."""


def inputs(offsets: jax.Array, pen: jax.Array) -> jax.Array:
    """`(T, B, 8)`: at each step, the movements before it."""
    after = features(offsets, jnp.cumsum(offsets, axis=0), pen)[:-1]
    first = jnp.broadcast_to(at_start(), (1, *after.shape[1:]))
    return jnp.concatenate([first, after])


def features(offset: jax.Array, place: jax.Array, pen: jax.Array) -> jax.Array:
    """`(..., 8)`: the state of the pen after a movement."""
    mark = jnp.zeros((*pen.shape, 1))
    return jnp.concatenate([offset, place, jax.nn.one_hot(pen, 3), mark], axis=-1)


def at_start() -> jax.Array:
    """The features before the first movement."""
    return jnp.zeros(FEATURES).at[-1].set(1)


def log_density(mixture: Mixture, offsets: jax.Array) -> jax.Array:
    """The logarithm of the density of offsets: `log sum_k w_k N(offset | mean_k, ...)`."""
    z = (offsets[..., None] - mixture.mean) / mixture.deviation
    x, y = z[..., 0, :], z[..., 1, :]
    rho = mixture.correlation
    free = 1 - rho**2
    log_normal = (
        -(x**2 + y**2 - 2 * rho * x * y) / (2 * free)
        - jnp.log(2 * jnp.pi * jnp.sqrt(free))
        - jnp.sum(jnp.log(mixture.deviation), axis=-2)
    )
    return jax.nn.logsumexp(mixture.weights + log_normal, axis=-1)
