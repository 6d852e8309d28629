"""Characters that the trained network writes, from nothing or after a given beginning."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .model import Mixture, Writer, at_start, features
from .pen import END, Movements


def written(
    model: Writer, params: Any, given: Movements, time: int, bias: float, seed: int
) -> Movements:
    """Characters of at most `time` points that begin with the given points.

    Args:
        given: the beginnings; a length of 0 for a character from nothing.
        bias: Graves' b, from 0 (the model itself) upwards (more regular strokes).
    """
    count = len(given.lengths)
    room = time - len(given.pen)
    offsets = np.pad(given.offsets, ((0, room), (0, 0), (0, 0)))
    pen = np.pad(given.pen, ((0, room), (0, 0)))
    forced = np.arange(time)[:, None] < given.lengths
    keys = jax.random.split(jax.random.key(seed), (time, count))
    step = jax.vmap(_stepper(model, params, bias))
    start = (
        model.layer.initial_state(params), at_start(), jnp.zeros(2), jnp.bool_(False)
    )  # fmt: skip
    carry = jax.tree.map(lambda s: jnp.broadcast_to(s, (count, *s.shape)), start)
    run = jax.jit(lambda carry, xs: jax.lax.scan(step, carry, xs)[1])
    drawn = run(carry, (offsets, pen, forced, keys))
    offsets, pen, open_before = map(np.asarray, drawn)
    return Movements(offsets, pen, open_before.sum(axis=0))


def _stepper(model: Writer, params: Any, bias: float) -> Any:
    """One movement of one character."""

    def step(carry: Any, xs: Any) -> Any:
        state, x, place, ended = carry
        offset, pen, forced, key = xs
        state, outputs = model.layer.step(params, state, x)
        sampled, next_pen = sample(model.mixture(outputs), bias, key)
        offset = jnp.where(forced, offset, sampled)
        pen = jnp.where(forced, pen, next_pen)
        place = place + offset
        carry = state, features(offset, place, pen), place, ended | (pen == END)
        return carry, (offset, pen, ~ended)

    return step


def sample(mixture: Mixture, bias: float, key: Any) -> tuple[jax.Array, jax.Array]:
    """An offset and a state of the pen: Graves 2013, equations 61 and 62 for the bias."""
    component_key, normal_key, pen_key = jax.random.split(key, 3)
    k = jax.random.categorical(component_key, mixture.weights * (1 + bias))
    x, y = jax.random.normal(normal_key, (2,))
    rho = mixture.correlation[k]
    normal = jnp.stack([x, rho * x + jnp.sqrt(1 - rho**2) * y])
    deviation = mixture.deviation[:, k] * jnp.exp(-bias)
    pen = jax.random.categorical(pen_key, mixture.pen * (1 + bias))
    return mixture.mean[:, k] + deviation * normal, pen.astype(jnp.int32)


def nothing(count: int) -> Movements:
    """Beginnings without a point."""
    return Movements(
        np.zeros((0, count, 2), np.float32),
        np.zeros((0, count), np.int32),
        np.zeros(count, np.int32),
    )


def halves(whole: Movements) -> Movements:
    """The first half of the strokes of each character, at least one."""
    lengths = []
    for b, length in enumerate(whole.lengths):
        ends = np.flatnonzero(whole.pen[:length, b]) + 1
        lengths.append(ends[max(1, len(ends) // 2) - 1])
    return whole._replace(lengths=np.array(lengths, np.int32))
