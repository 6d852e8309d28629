"""The folder of a run: its settings, and its metrics line by line, safe against a crash."""

import dataclasses
import itertools
import json
import os
from pathlib import Path
from typing import Any

from .config import Config


CONFIG, METRICS, PICTURE = "config.json", "metrics.jsonl", "picture.png"


def new_folder(config: Config, text: str) -> Path:
    """A new folder, named after the run or its text."""
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
    """The settings of a run to continue."""
    file = folder / CONFIG
    if not file.is_file():
        raise SystemExit(
            f"--resume {folder}: the folder has no {CONFIG}. Give the folder of a run."
        )
    values = json.loads(file.read_text())
    for name in ("text", "runs", "resume"):
        values[name] = None if values[name] is None else Path(values[name])
    return Config(**values)


def write_whole(path: Path, text: str) -> None:
    """Writes a file under a temporary name and renames it, so that it is never incomplete."""
    temporary = path.with_suffix(path.suffix + ".new")
    temporary.write_text(text)
    os.replace(temporary, path)


class Metrics:
    """The file `metrics.jsonl`: one JSON object per line, with its `update`. A context manager.

    No value depends on the clock, so that an interrupted and resumed run ends with the same
    file as an uninterrupted one.
    """

    def __init__(self, folder: Path, update: int):
        """Opens the metrics of a run; lines after `update` are dropped."""
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
        return float("inf")  # incomplete after a crash, so it is dropped


def _as_json(config: Config) -> dict[str, Any]:
    values = dataclasses.asdict(config)
    # absolute paths, since the run may be resumed from another folder
    return {
        key: str(value.absolute()) if isinstance(value, Path) else value
        for key, value in values.items()
    }
