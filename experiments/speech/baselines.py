"""Nearest neighbour and ridge regression on log-mel spectra of a fixed size."""

import numpy as np
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from .data import Recording
from .features import interpolated, log_mel
from .splits import Part, Splits


BANDS, FRAMES = 24, 24
Accuracies = dict[str, float]


def compare(splits: Splits) -> dict[str, Accuracies]:
    """The accuracy of each method, on the official split and for each speaker left out."""
    everyone = [*splits.known.train, *splits.known.test]
    spectra = {_key(r): fixed_size(r.samples) for r in everyone}
    parts = {"known": splits.known, **splits.left_out}
    return {name: _accuracies(part, spectra) for name, part in parts.items()}


def fixed_size(samples: np.ndarray) -> np.ndarray:
    """Log-mel spectra of 24 bands, interpolated in time to 24 frames, as a vector."""
    mel = log_mel(samples, BANDS)
    return interpolated(mel, np.linspace(0, len(mel) - 1, FRAMES)).ravel()


def _accuracies(part: Part, spectra: dict[tuple, np.ndarray]) -> Accuracies:
    x, new = (np.stack([spectra[_key(r)] for r in rs]) for rs in part)
    y, wanted = ([r.digit for r in rs] for rs in part)
    methods = {"1-NN": KNeighborsClassifier(1), "ridge": RidgeClassifier(alpha=100.0)}
    return {name: m.fit(x, y).score(new, wanted) for name, m in methods.items()}


def _key(recording: Recording) -> tuple[int, str, int]:
    return recording.digit, recording.speaker, recording.take
