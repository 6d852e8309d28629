"""The copy task as a stream: at every step, recall the bit that was read `delay` steps ago."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .learner import Samples


def batches(
    delay: int, streams: int, steps: int, seed: int
) -> Callable[[int], Samples]:
    """`batch(position)`: the next `steps` samples of streams of random bits, as -1 and 1."""

    def bits(position: int) -> np.ndarray:
        random = np.random.default_rng(
            (seed, position + 1)
        )  # position -1: before the start
        return random.integers(0, 2, (steps, streams, 1)).astype(np.float32)

    def batch(position: int) -> Samples:
        both = np.concatenate((bits(position - 1), bits(position)))
        return Samples(2 * both[steps:] - 1, both[steps - delay : 2 * steps - delay])

    return batch


def step_loss(y: jax.Array, target: jax.Array) -> jax.Array:
    """Bits that a symbol costs: 1 for a guess, 0 for a bit that is remembered."""
    return jnp.sum(optax.sigmoid_binary_cross_entropy(y, target)) / np.log(2)
