"""A run's folder: its settings, its metrics line by line, and what a crash may leave."""

import dataclasses
import itertools
import json
import os
from pathlib import Path
from typing import Any

from .config import Config


CONFIG, METRICS, PICTURE = "config.json", "metrics.jsonl", "picture.png"


def new_folder(config: Config, text: str) -> Path:
    """A folder that no run has yet, named after the run or its text."""
    name = config.name or text
    for number in itertools.count(1):
        folder = config.runs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        write_whole(folder / CONFIG, json.dumps(_as_json(config), indent=2))
        return folder
    raise AssertionError("unreachable: the numbers do not end")


def load_config(folder: Path) -> Config:
    """The settings of a run to go on with."""
    file = folder / CONFIG
    if not file.is_file():
        raise SystemExit(
            f"--resume {folder}: there is no run in it ({CONFIG} is missing)."
        )
    values = json.loads(file.read_text())
    for name in ("text", "runs", "resume"):
        values[name] = None if values[name] is None else Path(values[name])
    return Config(**values)


def write_whole(path: Path, text: str) -> None:
    """Writes a file such that it is there whole or not at all."""
    beside = path.with_suffix(path.suffix + ".new")
    beside.write_text(text)
    os.replace(beside, path)


class Metrics:
    """Lines of `metrics.jsonl`, each a JSON object with its `update`; open in a `with`.

    They hold nothing that depends on the clock, so that a run that was interrupted ends
    with the same file as one that was not.
    """

    def __init__(self, folder: Path, update: int):
        """Opens the metrics of a run at an update; what was logged after it is dropped."""
        self._path = folder / METRICS
        lines = self._path.read_text().splitlines() if self._path.is_file() else []
        kept = [line for line in lines if _update_of(line) <= update]
        write_whole(self._path, "".join(f"{line}\n" for line in kept))

    def __enter__(self) -> "Metrics":
        self._file = self._path.open("a")
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()

    def log(self, **values: Any) -> None:
        """Adds one line."""
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()

    def read(self) -> list[dict[str, Any]]:
        """All lines so far."""
        return [json.loads(line) for line in self._path.read_text().splitlines()]


def _update_of(line: str) -> float:
    try:
        return json.loads(line)["update"]
    except json.JSONDecodeError:
        return float("inf")  # cut short by a crash


def _as_json(config: Config) -> dict[str, Any]:
    values = dataclasses.asdict(config)
    # relative paths are read again from the same place, wherever the run is resumed from
    return {
        key: str(value.absolute()) if isinstance(value, Path) else value
        for key, value in values.items()
    }
