"""Bits to remember: given at the first step, and asked for after many steps of noise."""

from typing import NamedTuple

import numpy as np


BITS = 3


class Memories(NamedTuple):
    """A batch of sequences, time-major, and the bits of each."""

    xs: np.ndarray  # (T, B, BITS + 1): the bits, at the first step only, and noise
    bits: np.ndarray  # (B, BITS), each -1 or 1


def draw_memories(steps: int, size: int, rng: np.random.Generator) -> Memories:
    """Random bits at the first step, and standard normal noise at every step."""
    bits = rng.choice([-1, 1], (size, BITS)).astype(np.float32)
    xs = np.zeros((steps, size, BITS + 1), np.float32)
    xs[0, :, :BITS] = bits
    xs[..., BITS] = rng.standard_normal((steps, size), np.float32)
    return Memories(xs, bits)


def constant_error(memories: Memories) -> float:
    """The squared error of the best constant, 0."""
    return float(np.mean(memories.bits**2))
