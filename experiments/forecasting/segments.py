"""A GRU that reads a series by segments, and forecasts all segments ahead in parallel."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn


class SegmentParams(NamedTuple):
    """Parameters of `SegmentGRU`: its layers, and what tells apart positions and channels."""

    embed: Any
    gru: Any
    head: Any
    position: jax.Array  # (segments ahead, d/2)
    channel: jax.Array  # (channels, d/2)


@dataclass(frozen=True)
class SegmentGRU:
    """Forecasts of one series, as quantiles.

        e_i = relu(W segment_i + b);            h = GRU(e_1 ... e_n)
        y_j = V dropout(GRU(h, [position_j; channel])) + c,    one step from h for each j

    The last value is subtracted from the input and added to the forecast.

    Reference: Lin et al. 2023 (SegRNN), arXiv:2308.11200.
    """

    segment: int
    ahead: int
    channels: int
    units: int
    quantiles: tuple[float, ...]
    dropout: float

    @property
    def layers(self) -> tuple[jaxrnn.Layer, jaxrnn.Cell, jaxrnn.Layer]:
        """The embedding of a segment, the GRU, and the head."""
        outputs = self.segment * len(self.quantiles)
        head = (jaxrnn.Dropout(self.dropout), jaxrnn.Dense(self.units, outputs))
        return (
            jaxrnn.Dense(self.segment, self.units),
            jaxrnn.GRU(self.units, self.units),
            jaxrnn.Stack(head),
        )

    def init(self, key: jax.Array) -> SegmentParams:
        """Fresh parameters."""
        *keys, k_position, k_channel = jax.random.split(key, 5)
        embed, gru, head = (
            layer.init(k) for layer, k in zip(self.layers, keys, strict=True)
        )
        half = self.units // 2
        position = jax.random.normal(k_position, (self.ahead // self.segment, half))
        channel = jax.random.normal(k_channel, (self.channels, half))
        return SegmentParams(embed, gru, head, position, channel)

    def forecast(
        self, params: SegmentParams, past: Any, channel: Any, key: Any = None
    ) -> jax.Array:
        """Quantiles `(N, ahead, quantiles)`, from `past` `(N, L)` and `channel` `(N,)`."""
        embed, gru, head = self.layers
        past = jnp.asarray(past)
        last = past[:, -1]
        segments = (past - last[:, None]).reshape(len(past), -1, self.segment)
        _, es = jaxrnn.unroll(embed, params.embed, segments.swapaxes(0, 1))
        h, _ = jaxrnn.unroll(gru, params.gru, jax.nn.relu(es))
        return self._ahead(params, gru, head, h, last, channel, key)

    def _ahead(self, params, gru, head, h, last, channel, key):
        count, steps = len(h), len(params.position)
        position = jnp.broadcast_to(params.position, (count, *params.position.shape))
        channel = jnp.broadcast_to(params.channel[channel][:, None], position.shape)
        xs = jnp.concatenate((position, channel), axis=-1).reshape(1, count * steps, -1)
        _, hs = jaxrnn.unroll(gru, params.gru, xs, jnp.repeat(h, steps, axis=0))
        _, ys = jaxrnn.unroll(head, params.head, hs, key=key)
        return ys.reshape(count, self.ahead, -1) + last[:, None, None]


def pinball(quantiles: tuple[float, ...], forecast: Any, target: Any) -> jax.Array:
    """The mean pinball loss of quantiles `(..., quantiles)` of a target `(...)`."""
    error = jnp.asarray(target)[..., None] - forecast
    q = jnp.broadcast_to(np.asarray(quantiles, np.float32), error.shape)
    return jnp.mean(jnp.maximum(q * error, (q - 1) * error))


def make_loss(model: SegmentGRU) -> Any:
    """The pinball loss of a batch `(past, channel, future)`."""

    def loss(params, carry, key, batch):
        past, channel, future = batch
        forecast = model.forecast(params, past, channel, key)
        return pinball(model.quantiles, forecast, future), carry

    return loss


class Windows:
    """All windows of a part of the series, stride 1, and shuffled batches of them.

    The part begins with the first hour that is forecast: the look-back of the first window
    lies before it, except in training, where all of a window is inside.
    """

    def __init__(self, values: np.ndarray, begin: int, end: int, back: int, ahead: int):
        """Windows whose `ahead` hours lie in `begin ... end`."""
        self._values, self.back, self._ahead = values, back, ahead
        self.starts = np.arange(max(begin, back), end - ahead + 1)

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`(past, channel, future)` of some windows, every channel a row of its own."""
        back, ahead = self.back, self._ahead
        hours = self.starts[which][:, None] + np.arange(-back, ahead)
        rows = self._values[hours].swapaxes(1, 2).reshape(-1, back + ahead)
        channel = np.tile(np.arange(self._values.shape[1], dtype=np.int32), len(which))
        return rows[:, :back], channel, rows[:, back:]

    def shuffled(self, batch: int, seed: int) -> Any:
        """`batch(position)`: batches in a new order in each epoch."""
        per_epoch = len(self) // batch

        def draw(position):
            epoch, index = divmod(position, per_epoch)
            order = np.random.default_rng((seed, epoch)).permutation(len(self))
            return self.at(order[index * batch : (index + 1) * batch])

        return draw


def make_forecasts(model: SegmentGRU, windows: Windows, batch: int = 256) -> Any:
    """`forecasts(params)`: quantiles `(windows, channels, ahead, quantiles)`."""
    run = jax.jit(model.forecast)

    def forecasts(params):
        parts = []
        for start in range(0, len(windows), batch):
            which = np.arange(start, start + batch).clip(max=len(windows) - 1)
            past, channel, _ = windows.at(which)
            valid = min(batch, len(windows) - start) * model.channels
            parts.append(np.asarray(run(params, past, channel))[:valid])
        rows = np.concatenate(parts)
        return rows.reshape(len(windows), model.channels, *rows.shape[1:])

    return forecasts
