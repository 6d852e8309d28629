"""A GRU that forecasts the next hour, and estimates a hidden channel from the others."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn


class Expected(NamedTuple):
    """Normal distributions, means and logarithms of variances, `(..., channels)`.

    `following` is of the next hour, `hidden` of this hour of the channel that is hidden.
    """

    following: tuple[jax.Array, jax.Array]
    hidden: tuple[jax.Array, jax.Array]


def make_model(channels: int, units: int, dropout: float) -> jaxrnn.Stack:
    """Inputs are the channels and which of them is hidden; outputs see `expected`."""
    return jaxrnn.Stack(
        (
            jaxrnn.GRU(2 * channels, units),
            jaxrnn.Dropout(dropout),
            jaxrnn.Dense(units, 4 * channels),
        )
    )


def hide(x: Any, hidden: Any) -> jax.Array:
    """Inputs: the values `x`, with zeros where `hidden` is True, and `hidden`."""
    x = jnp.asarray(x)
    shown = jnp.where(hidden, jnp.zeros_like(x), x)
    return jnp.concatenate((shown, jnp.asarray(hidden, x.dtype)), axis=-1)


def expected(outputs: jax.Array) -> Expected:
    """The distributions that the outputs of the model describe."""
    mean, log_variance, mean_now, log_variance_now = jnp.split(outputs, 4, axis=-1)
    return Expected((mean, log_variance), (mean_now, log_variance_now))


def make_loss(model: jaxrnn.Layer) -> Any:
    """The negative log-likelihood of the next hour, and of the hidden channels of this one."""

    def loss(params, carry, key, batch):
        xs, hidden = batch
        xs = jnp.asarray(xs)
        hidden = jnp.broadcast_to(hidden, xs[:-1].shape)
        _, ys = jaxrnn.unroll(model, params, hide(xs[:-1], hidden), key=key)
        following, now = expected(ys)
        ahead = jnp.mean(_surprise(following, xs[1:]))
        missing = jnp.where(hidden, _surprise(now, xs[:-1]), jnp.zeros_like(xs[:-1]))
        return ahead + jnp.sum(missing) / jnp.sum(hidden).astype(xs.dtype), carry

    return loss


def _surprise(normal: tuple[jax.Array, jax.Array], x: jax.Array) -> jax.Array:
    mean, log_variance = normal
    return 0.5 * (jnp.square(x - mean) * jnp.exp(-log_variance) + log_variance)


def batches(values: np.ndarray, steps: int, batch: int, seed: int) -> Any:
    """`batch(position)`: random windows, `(steps, B, channels)`, each with a hidden channel.

    In every other window no channel is hidden.
    """
    channels = values.shape[1]

    def draw(position):
        random = np.random.default_rng((seed, position))
        starts = random.integers(0, len(values) - steps + 1, batch)
        which = random.integers(0, channels, batch)
        hidden = np.eye(channels, dtype=bool)[which]
        hidden[::2] = False
        return values[starts + np.arange(steps)[:, None]], hidden

    return draw


class Carry(NamedTuple):
    """What the detector keeps between two samples.

    The states of the model, one for each choice of the hidden channel (the first: no
    channel), the forecast of the next sample, and the moving averages of both errors.
    """

    states: Any
    forecast: tuple[jax.Array, jax.Array]
    errors: jax.Array  # (2, channels)


def start(model: jaxrnn.Layer, params: Any, channels: int) -> Carry:
    """The carry before the first sample."""
    one = model.initial_state(params)
    states = jax.tree.map(lambda s: jnp.broadcast_to(s, (channels + 1, *s.shape)), one)
    return Carry(
        states, (jnp.zeros(channels), jnp.zeros(channels)), jnp.zeros((2, channels))
    )


def step(
    model: jaxrnn.Layer, params: Any, decay: float, carry: Carry, x: jax.Array
) -> tuple[Carry, jax.Array]:
    """One sample `(channels,)`: the new carry, and the errors `(2, channels)`.

        e <- decay e + (1 - decay) |x - mean| / deviation

    for the forecast of this sample, made at the one before, and for the estimate of each
    channel from the others.
    """
    channels = len(x)
    hidden = jnp.eye(channels + 1, channels, k=-1, dtype=bool)
    inputs = jax.vmap(hide, (None, 0))(x, hidden)
    states, ys = jax.vmap(model.step, (None, 0, 0))(params, carry.states, inputs)
    following, now = expected(ys)
    estimate = [jnp.diagonal(part[1:]) for part in now]
    new = jnp.stack([_deviations(n, x) for n in (carry.forecast, estimate)])
    errors = decay * carry.errors + (1 - decay) * new
    forecast = following[0][0], following[1][0]
    return Carry(states, forecast, errors), errors


def _deviations(normal: Any, x: jax.Array) -> jax.Array:
    mean, log_variance = normal
    return jnp.abs(x - mean) * jnp.exp(-0.5 * log_variance)


def follow(
    model: jaxrnn.Layer, params: Any, decay: float, values: np.ndarray
) -> np.ndarray:
    """The errors `(hours, 2, channels)` of a stream that is read one sample at a time."""
    one = _compiled(model, decay)
    carry, errors = start(model, params, values.shape[1]), []
    for x in values:
        carry, error = one(params, carry, x)
        errors.append(error)
    return np.stack(errors)


@functools.cache
def _compiled(model: jaxrnn.Layer, decay: float) -> Any:
    return jax.jit(lambda params, carry, x: step(model, params, decay, carry, x))


def unusual(clean: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The score of each hour: its largest error, in deviations of the errors of `clean`."""
    return np.max((errors - clean.mean(axis=0)) / clean.std(axis=0), axis=1)
