"""Batches of digits and of strings of digits, whole and with random changes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .data import RATE, Recording
from .features import Voice, log_mel, masked, random_voice, stacked


class Batch(NamedTuple):
    """Spectra `(T, B, features)`, lengths `(B,)`, labels `(B, n)`, and how many are labels."""

    frames: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    counts: np.ndarray


class Sound(NamedTuple):
    """Samples, and the digits that they are."""

    samples: np.ndarray
    digits: tuple[int, ...]


class Shape(NamedTuple):
    """How spectra are made: bands, frames that are stacked, and steps of a sequence."""

    bands: int
    stack: int
    time: int


def digits(recordings: list[Recording]) -> list[Sound]:
    """Sounds of one digit each."""
    return [Sound(r.samples, (r.digit,)) for r in recordings]


def join(recordings: list[Recording], most: int, random: np.random.Generator) -> Sound:
    """A string of 1 to `most` digits by one speaker, after silences of 0 to 0.3 seconds."""
    speaker = recordings[random.integers(len(recordings))].speaker
    own = [r for r in recordings if r.speaker == speaker]
    chosen = [own[random.integers(len(own))] for _ in range(random.integers(most) + 1)]
    parts = []
    for recording in chosen:
        silence = np.zeros(random.integers(int(0.3 * RATE)), np.float32)
        parts += [silence, recording.samples]
    return Sound(np.concatenate(parts), tuple(r.digit for r in chosen))


def whole(sounds: list[Sound], shape: Shape) -> Batch:
    """All sounds as they are, with as many steps as the longest needs."""
    mels = [log_mel(s.samples, shape.bands) for s in sounds]
    longest = max(map(len, mels)) // shape.stack
    return _batch(sounds, mels, shape._replace(time=max(longest, shape.time)))


def changed(
    sounds: list[Sound], shape: Shape, strength: float, random: np.random.Generator
) -> Batch:
    """The sounds in other voices, and with masks; a strength of 0 leaves them as they are."""
    mels = []
    for sound in sounds:
        voice = random_voice(random, strength) if strength else Voice()
        mel = log_mel(sound.samples, shape.bands, voice, random)
        mels.append(masked(mel, random) if strength else mel)
    return _batch(sounds, mels, shape)


def _batch(sounds: list[Sound], mels: list[np.ndarray], shape: Shape) -> Batch:
    rows = [stacked(mel, shape.stack, shape.time) for mel in mels]
    most = max(len(sound.digits) for sound in sounds)
    labels = np.zeros((len(sounds), most), np.int32)
    for row, sound in zip(labels, sounds, strict=True):
        row[: len(sound.digits)] = sound.digits
    return Batch(
        np.stack([frames for frames, _ in rows], axis=1),
        np.array([steps for _, steps in rows], np.int32),
        labels,
        np.array([len(sound.digits) for sound in sounds], np.int32),
    )


def random_digits(
    recordings: list[Recording], size: int, shape: Shape, strength: float, seed: int
) -> Callable[[int], Batch]:
    """Random batches of digits; each depends on its position alone."""
    sounds = digits(recordings)

    def batch(position: int) -> Batch:
        random = np.random.default_rng((seed, position))
        chosen = random.integers(len(sounds), size=size)
        return changed([sounds[i] for i in chosen], shape, strength, random)

    return batch


def random_strings(
    recordings: list[Recording],
    most: int,
    size: int,
    shape: Shape,
    strength: float,
    seed: int,
) -> Callable[[int], Batch]:
    """Random batches of strings; each depends on its position alone."""

    def batch(position: int) -> Batch:
        random = np.random.default_rng((seed, position))
        sounds = [join(recordings, most, random) for _ in range(size)]
        made = changed(sounds, shape, strength, random)
        missing = most - made.labels.shape[1]
        return made._replace(labels=np.pad(made.labels, ((0, 0), (0, missing))))

    return batch
