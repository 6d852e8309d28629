"""Data sets: where they are, and what to do if they are not there."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np


class DataError(Exception):
    """Data that are missing or broken; the message says which, and what to do."""


def find(data_dir: Path, name: str, source: str) -> Path:
    """The file or folder `name` in the folder of the data sets.

    Args:
        data_dir: the option `--data-dir`.
        name: the path inside it, such as `fsdd/recordings`.
        source: where to get the data, and under which licence.

    Raises:
        DataError: if there is no such file or folder.
    """
    path = data_dir / name
    if not path.exists():
        raise DataError(
            f"{path} does not exist. Get the data from {source}, put them there, and name "
            "the folder that holds all data sets with --data-dir."
        )
    return path


def read_columns(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """The named columns of a CSV file with a header, as text.

    Raises:
        DataError: if a column is missing, if a line has too few or too many fields, or if
            there is no line after the header.
    """
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = list(csv.reader(file)) or [[]]
    missing = [name for name in names if name not in header]
    if missing:
        raise DataError(
            f"{path}: the columns {', '.join(missing)} are missing. The first line must name "
            f"the columns {', '.join(names)}."
        )
    if not lines:
        raise DataError(
            f"{path}: there is no line after the header. Get the file again."
        )
    for number, line in enumerate(lines, 2):
        if len(line) != len(header):
            raise DataError(
                f"{path}, line {number}: {len(line)} fields, but the header has "
                f"{len(header)}. Get the file again."
            )
    return {name: [line[header.index(name)] for line in lines] for name in names}


def numbers(path: Path, columns: dict[str, list[str]], rows: int = 1) -> np.ndarray:
    """The columns of a file as numbers, `(rows, columns)`.

    Raises:
        DataError: if a field is not a finite number, or if there are fewer rows than `rows`.
    """
    try:
        table = np.array([[float(field) for field in c] for c in columns.values()]).T
    except ValueError as error:
        raise DataError(f"{path}: a field is not a number: {error}.") from error
    if not np.isfinite(table).all():
        raise DataError(f"{path}: some fields are not finite numbers.")
    if len(table) < rows:
        raise DataError(
            f"{path}: {len(table)} rows, but at least {rows} are needed. Get the file again."
        )
    return table
