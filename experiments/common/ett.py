"""ETTh1: the load and the oil temperature of an electricity transformer, hour by hour."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ._data import find, numbers, read_columns


SERIES = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
HOURS = (8640, 2880, 2880)
SOURCE = (
    "https://github.com/zhouhaoyi/ETDataset (ETT-small/ETTh1.csv, licence CC BY-ND 4.0)"
)


@dataclass(frozen=True, eq=False)
class Ett:
    """Seven series by the hour, scaled by the mean and the deviation of the training part.

    Attributes:
        values: `(hours, 7)`, float32.
        parts: the hours at which training, validation and test begin, and the end.
    """

    values: np.ndarray
    parts: tuple[int, int, int, int]

    def part(self, index: int) -> np.ndarray:
        """Training (0), validation (1) or test (2), `(hours, 7)`."""
        return self.values[self.parts[index] : self.parts[index + 1]]


def load(data_dir: Path, hours: tuple[int, ...] = HOURS) -> Ett:
    """ETTh1 in its standard split; `hours` of training, validation and test.

    Raises:
        DataError: if the file is missing, broken or too short.
    """
    path = find(data_dir, "ett/ETTh1.csv", SOURCE)
    values = numbers(path, read_columns(path, SERIES), sum(hours))
    train, validation, test = hours
    scale = values[:train].mean(axis=0), values[:train].std(axis=0)
    scaled = ((values[: sum(hours)] - scale[0]) / scale[1]).astype(np.float32)
    return Ett(scaled, (0, train, train + validation, train + validation + test))
