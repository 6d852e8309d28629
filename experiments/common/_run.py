"""The folder of a run: settings, metrics, values computed once; safe against a crash."""

import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from ._options import Options


CONFIG, METRICS, PICTURE, RESULTS = (
    "config.json",
    "metrics.jsonl",
    "picture.png",
    "results.json",
)

Json = TypeVar("Json")


class Run:
    """One run of an experiment, new or resumed.

    Attributes:
        folder: its folder; `folder / "picture.png"` is `picture`.
        console: prints to the terminal.
    """

    def __init__(self, experiment: str, options: Options, *, small: bool = False):
        """Makes the folder of a new run, or opens the folder `options.resume`."""
        self.console = Console()
        self.options = options
        self._start = time.monotonic()
        if options.resume is not None:
            self.folder = options.resume
        else:
            self.folder = _new_folder(options.runs, options.name or experiment)
            given = {
                "experiment": experiment,
                "small": small,
                "options": options.as_json(),
            }
            write_whole(self.folder / CONFIG, json.dumps(given, indent=2))
        self._before = float(read_json(self.folder / "seconds.json", 0.0))

    @property
    def picture(self) -> Path:
        """The file of the picture."""
        return self.folder / PICTURE

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken, those of the processes that it resumes included."""
        return self._before + time.monotonic() - self._start

    def keep_time(self) -> None:
        """Saves `seconds` for the process that resumes the run."""
        write_whole(self.folder / "seconds.json", json.dumps(round(self.seconds, 1)))

    def discard(self) -> None:
        """Removes the folder if it has nothing but the settings."""
        if [file.name for file in self.folder.iterdir()] == [CONFIG]:
            (self.folder / CONFIG).unlink()
            self.folder.rmdir()

    def once(self, name: str, compute: Callable[[], Json]) -> Json:
        """The JSON value of `compute()`, kept in the folder: a resumed run reads it."""
        file = self.folder / f"{name}.json"
        if not file.is_file():
            self.say(f"{name.replace('-', ' ')} ...")
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(compute()))
            self.keep_time()
        return json.loads(file.read_text())

    def say(self, text: str) -> None:
        """Prints a line."""
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def metrics(self, name: str) -> list[dict[str, Any]]:
        """The metrics of one training, a dictionary for each line."""
        lines = (self.folder / name / METRICS).read_text().splitlines()
        return [json.loads(line) for line in lines]


def read_json(file: Path, default: Any = None) -> Any:
    """The content of a JSON file; `default` if there is no file."""
    return json.loads(file.read_text()) if file.is_file() else default


def _new_folder(runs: Path, name: str) -> Path:
    for number in itertools.count(1):
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("unreachable: the numbers do not end")


def write_whole(path: Path, text: str) -> None:
    """Writes a file under a temporary name and renames it, so that it is never incomplete."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


class Metrics:
    """The file `metrics.jsonl`: one JSON object per line, with its `update`. A context manager.

    No value depends on the clock, so that an interrupted and resumed run ends with the same
    file as an uninterrupted one.
    """

    def __init__(self, folder: Path, update: int):
        """Opens the metrics of a training; lines after `update` are dropped."""
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


def _update_of(line: str) -> float:
    """The update of a line; infinity for a line that a crash cut short."""
    try:
        return json.loads(line)["update"]
    except (json.JSONDecodeError, KeyError):
        return float("inf")
