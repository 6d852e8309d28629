"""Data sets: where they are, and what to do if they are not there."""

from pathlib import Path


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
