"""The results of a run: a file with one JSON object a line, appended and flushed at once."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


Say = Callable[..., None]
"""`say(**fields)` writes one line."""

FILE = "results.jsonl"


def writer(folder: Path, step: str) -> Say:
    """A function that appends lines of one step to the results in a folder."""
    path = folder / FILE

    def say(**fields: Any) -> None:
        line = json.dumps({"step": step, "time": round(time.time(), 1), **fields})
        # one call of write in append mode: two processes never mix within a line
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, (line + "\n").encode())
            os.fsync(file)
        finally:
            os.close(file)

    return say


def read(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run, without a last line that was cut.

    Raises:
        ValueError: if there are no results, or if a line that was not cut is not JSON.
    """
    path = folder / FILE
    if not path.exists():
        raise ValueError(f"there are no results in {folder}; give the folder of a run.")
    found = []
    *whole, _ = path.read_text().split("\n")  # a whole line ends with a newline
    for number, line in enumerate(whole, 1):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number} is not JSON: {error}") from None
    return found


def brief(error: BaseException) -> str:
    """An error in one line; of a refusal the reason alone."""
    if reason := getattr(error, "reason", ""):
        return str(reason)[:400]
    lines = [line for line in str(error).splitlines() if line.strip()]
    first = (lines or [""])[0]
    refused = type(error) is NotImplementedError
    return (first if refused else f"{type(error).__name__}: {first}")[:400]
