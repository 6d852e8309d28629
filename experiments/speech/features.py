"""Log-mel spectra of sounds, and random changes of a voice and its surroundings."""

from typing import NamedTuple

import numpy as np
from scipy import fft, signal

from .data import RATE


WINDOW, HOP, BINS = 200, 80, 256
NYQUIST = RATE / 2
RANGE = 8.0  # 35 dB: what is weaker counts as silence


class Voice(NamedTuple):
    """A change of one sound: its voice, its room and its microphone."""

    speed: float = 1.0
    """Factor of pitch, formants and speed together: the sound is resampled."""
    tract: float = 1.0
    """Factor of the formants alone: the frequency axis is warped."""
    stretch: float = 1.0
    """Factor of the duration alone: the spectra are interpolated in time."""
    noise: float = 1e-2
    """Amplitude of white noise; the amplitude of the sound is 1."""
    silence: tuple[int, int] = (0, 0)
    """Samples of silence before and after the sound."""
    colour: tuple[float, ...] = ()
    """Cosine coefficients of a gain over the bands, in nats, from the second on."""


def random_voice(random: np.random.Generator, strength: float) -> Voice:
    """A voice whose factors are at most `1 + strength` times larger or smaller.

    Its colour has a standard deviation of `1.3 * strength` nats for each coefficient.
    """
    factors = np.exp(random.uniform(-1, 1, 3) * np.log1p(strength))
    speed, tract, stretch = map(float, factors)
    return Voice(
        speed,
        tract,
        stretch,
        noise=float(10 ** random.uniform(-3, -0.8)),
        silence=(int(random.integers(RATE // 5)), int(random.integers(RATE // 5))),
        colour=tuple(1.3 * strength * random.normal(size=3)),
    )


def log_mel(
    samples: np.ndarray,
    bands: int,
    voice: Voice = Voice(),
    random: np.random.Generator | None = None,
) -> np.ndarray:
    """The log-mel spectra of a sound every 10 ms, `(frames, bands)`; 0 is silence.

        max(0, log mel - peak + 8) / 2,    peak = 0.9 quantile over time of max_bands log mel

    Values more than 35 dB below the peak become 0: recordings differ in the noise of their
    pauses, and a mean over all frames would depend on how long the pauses are.
    """
    random = random or np.random.default_rng(0)
    places = np.arange(0, len(samples) - 1, voice.speed)
    sound = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
    before, after = voice.silence
    sound = np.pad(sound, (before, max(after, WINDOW - len(sound))))
    sound += voice.noise * random.standard_normal(len(sound), np.float32)
    mel = np.log(_power(sound) @ _filters(bands, voice.tract) + 1e-5)
    across = np.linspace(0, np.pi, bands, dtype=np.float32)
    for order, gain in enumerate(voice.colour, 1):
        mel += gain * np.cos(order * across)
    mel = interpolated(mel, np.arange(0, len(mel) - 1e-6, 1 / voice.stretch))
    peak = np.quantile(mel.max(axis=1), 0.9)
    return np.maximum(0, mel - peak + RANGE).astype(np.float32) / 2


def _power(sound: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
    hann = signal.get_window("hann", WINDOW).astype(np.float32)
    return np.abs(fft.rfft(windows * hann, BINS)) ** 2


def interpolated(frames: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The frames at places between them, linearly."""
    before = places.astype(int)
    after = np.minimum(before + 1, len(frames) - 1)
    weight = (places - before)[:, None].astype(np.float32)
    return frames[before] * (1 - weight) + frames[after] * weight


_FILTERS: dict[tuple[int, float], np.ndarray] = {}


def _filters(bands: int, tract: float) -> np.ndarray:
    """Triangular filters, evenly spaced in mel from 60 to 3,800 Hz, `(bins, bands)`.

    With a factor `tract` the filters are moved down by it, so that formants appear higher:
    their frequencies are divided up to a knee, above which a line leads to the same maximum.

    Reference: Lee & Rose 1998, doi:10.1109/89.650310.
    """
    key = bands, round(tract, 2)
    if key not in _FILTERS:
        low, high = 2595 * np.log10(1 + np.array([60, 3800]) / 700)
        mel = np.linspace(low, high, bands + 2)
        hertz = _warped(700 * (10 ** (mel / 2595) - 1), 1 / key[1])
        left, middle, right = hertz[:-2], hertz[1:-1], hertz[2:]
        bins = np.linspace(0, NYQUIST, BINS // 2 + 1)[:, None]
        up = (bins - left) / (middle - left)
        down = (right - bins) / (right - middle)
        _FILTERS[key] = np.maximum(0, np.minimum(up, down)).astype(np.float32)
    return _FILTERS[key]


def _warped(hertz: np.ndarray, factor: float) -> np.ndarray:
    knee = 0.7 * NYQUIST / max(factor, 1)
    slope = (NYQUIST - factor * knee) / (NYQUIST - knee)
    return np.where(hertz < knee, factor * hertz, NYQUIST - slope * (NYQUIST - hertz))


def masked(mel: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The spectra with a range of bands and a range of frames silenced.

    Reference: Park et al. 2019, arXiv:1904.08779.
    """
    mel = mel.copy()
    frames, bands = mel.shape
    width = random.integers(bands // 6 + 1)
    start = random.integers(bands - width + 1)
    mel[:, start : start + width] = 0
    width = random.integers(min(frames // 5, 12) + 1)
    start = random.integers(frames - width + 1)
    mel[start : start + width] = 0
    return mel


def stacked(mel: np.ndarray, stack: int, time: int) -> tuple[np.ndarray, int]:
    """Frames side by side, `stack` at a time, padded to `(time, stack * bands)`; the steps.

    A recurrence over 30 ms instead of 10 takes a third of the time. What exceeds `time` is
    cut off.
    """
    steps = min(max(1, len(mel) // stack), time)
    rows = np.zeros((time * stack, mel.shape[1]), np.float32)
    kept = mel[: steps * stack]
    rows[: len(kept)] = kept
    return rows.reshape(time, -1), steps
