"""Faults of sensors, planted at random but fixed places of a stream."""

from dataclasses import dataclass

import numpy as np


KINDS = ("spike", "drift", "stuck", "swapped")


@dataclass(frozen=True, eq=False)
class Stream:
    """A stream with faults.

    Attributes:
        values: `(hours, channels)` with the faults.
        kind: `(hours,)`, the index of the fault in `KINDS`, or -1.
        fault: `(hours,)`, the number of the fault, or -1.
        channel: `(faults,)`, the (first) channel of each fault.
    """

    values: np.ndarray
    kind: np.ndarray
    fault: np.ndarray
    channel: np.ndarray


def plant(clean: np.ndarray, each: int, seed: int) -> Stream:
    """Plants `each` faults of each kind, one in each of equal stretches of the stream.

    - spike: 1 to 3 hours, one channel is 1.5 to 3 deviations too high or too low;
    - drift: 24 to 48 hours, one channel moves away, by 1 to 2 deviations at the end;
    - stuck: 12 to 36 hours, one channel keeps its last value;
    - swapped: 12 to 36 hours, two channels change places.
    """
    random = np.random.default_rng(seed)
    values = clean.copy()
    kind = np.full(len(clean), -1)
    fault = np.full(len(clean), -1)
    kinds = random.permutation(np.repeat(np.arange(len(KINDS)), each))
    stretch = len(clean) // len(kinds)
    channels = []
    for number, which in enumerate(kinds):
        length = _length(random, KINDS[which], stretch)
        gap = stretch - length
        start = number * stretch + random.integers(1, max(2, gap))
        hours = slice(start, start + length)
        channels.append(_plant(values, hours, KINDS[which], random))
        kind[hours], fault[hours] = which, number
    return Stream(values, kind, fault, np.array(channels))


def _length(random: np.random.Generator, kind: str, stretch: int) -> int:
    low, high = {"spike": (1, 3), "drift": (24, 48)}.get(kind, (12, 36))
    return min(int(random.integers(low, high + 1)), stretch - 2)


def _plant(
    values: np.ndarray, hours: slice, kind: str, random: np.random.Generator
) -> int:
    """Changes the values in place; returns the channel."""
    one, other = random.permutation(values.shape[1])[:2]
    sign = random.choice([-1, 1])
    part = values[hours]
    if kind == "spike":
        part[:, one] += sign * random.uniform(1.5, 3)
    elif kind == "drift":
        part[:, one] += sign * random.uniform(1, 2) * np.linspace(0, 1, len(part))
    elif kind == "stuck":
        part[:, one] = values[hours.start - 1, one]
    else:
        part[:, [one, other]] = part[:, [other, one]]
    return int(one)
