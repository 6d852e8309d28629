"""Spoken digits: 3,000 recordings at 8 kHz by six speakers."""

import re
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..common import DataError, find


RATE = 8000
DIGITS = 10
SOURCE = "github.com/Jakobovski/free-spoken-digit-dataset (recordings; CC BY-SA 4.0)"
_NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")


class Recording(NamedTuple):
    """One spoken digit: samples `(n,)` with a root mean square of 1, and its label."""

    samples: np.ndarray
    digit: int
    speaker: str
    take: int


def load(data_dir: Path) -> list[Recording]:
    """Reads `fsdd/recordings/{digit}_{speaker}_{index}.wav`, in the order of the names."""
    folder = find(data_dir, "fsdd/recordings", SOURCE)
    files = sorted(folder.glob("*.wav"))
    if not files:
        raise DataError(f"{folder} has no .wav file. Get the data from {SOURCE}.")
    return [read(file) for file in files]


def read(file: Path) -> Recording:
    """One recording, with its label from the name of the file."""
    name = _NAME.fullmatch(file.name)
    if name is None:
        raise DataError(
            f"{file}: expected is a name {{digit}}_{{speaker}}_{{index}}.wav, such as "
            "7_george_12.wav."
        )
    try:
        with wave.open(str(file)) as opened:
            kind = opened.getframerate(), opened.getnchannels(), opened.getsampwidth()
            promised = opened.getnframes()
            content = opened.readframes(promised)
    except (wave.Error, EOFError) as error:
        raise DataError(f"{file} is not a WAV file ({error}).") from None
    if kind != (RATE, 1, 2):
        raise DataError(
            f"{file}: {kind[0]} Hz, {kind[1]} channels, {8 * kind[2]} bits; expected are "
            f"{RATE} Hz, 1 channel, 16 bits."
        )
    if len(content) != 2 * promised or promised < RATE // 20:
        raise DataError(
            f"{file}: {len(content) // 2} samples, and its header promises {promised}; "
            f"expected are all of them, and at least {RATE // 20}."
        )
    samples = np.frombuffer(content, "<i2").astype(np.float32)
    samples -= samples.mean()
    loudness = np.sqrt(np.mean(samples**2))
    if loudness == 0:
        raise DataError(f"{file} is silent: all samples are equal.")
    digit, speaker, index = name.groups()
    return Recording(samples / loudness, int(digit), speaker, int(index))
