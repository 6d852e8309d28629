"""The task: each of three outputs is the last pulse of its input."""

from typing import NamedTuple

import numpy as np


BITS = 3


class Batch(NamedTuple):
    """Pulses and what to remember, both `(T, B, 3)`; `valid` once a bit has had a pulse."""

    pulses: np.ndarray
    bits: np.ndarray
    valid: np.ndarray


def make_batch(random: np.random.Generator, time: int, size: int, rate: float) -> Batch:
    """Random pulses of -1 and 1, with the probability `rate` in each step.

        bits[t] = pulses[t] if it is not 0, else bits[t-1]

    Args:
        random: the generator.
        time: steps T.
        size: sequences B.
        rate: the probability of a pulse, for each bit and step.
    """
    shape = (time, size, BITS)
    signs = random.choice(np.array([-1, 1], np.float32), shape)
    pulses = np.where(random.random(shape) < rate, signs, np.float32(0))
    steps = np.arange(time)[:, None, None]
    last = np.maximum.accumulate(np.where(pulses != 0, steps, -1), axis=0)
    bits = np.take_along_axis(pulses, np.maximum(last, 0), axis=0)
    return Batch(pulses, bits, last >= 0)
