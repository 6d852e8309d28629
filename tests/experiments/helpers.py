"""Runs experiments as a user does, in this process or in one of their own."""

import json
import subprocess
import sys
from pathlib import Path

import jax

from experiments.__main__ import main


ROOT = Path(__file__).parents[2]


def small(name: str, tmp_path: Path, *options: str) -> tuple[dict, Path]:
    """The results of the small version of an experiment, and the folder of its run."""
    runs = tmp_path / "runs"
    given = ["--small", "--runs", str(runs), "--data-dir", str(tmp_path / "data")]
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules need it
        assert main(["run", name, *given, *options]) == 0
    folder = runs / name
    assert (folder / "picture.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    return json.loads((folder / "results.json").read_text()), folder


def values(results: dict, measure: str) -> list[float]:
    """All values of one measure."""
    return [
        v for row in results["rows"] if row["measure"] == measure for v in row["values"]
    ]


def lines(folder: Path) -> list[dict]:
    """The metrics of a training."""
    return [
        json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


def losses(folder: Path) -> list[float]:
    """The loss of each update of a training."""
    return [line["loss"] for line in lines(folder) if "loss" in line]


def start(arguments: str, **how) -> subprocess.Popen:
    """Starts `python -m experiments` in a separate process."""
    command = [sys.executable, "-m", "experiments", *arguments.split()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, **pipes, **how)


def finish(arguments: str) -> str:
    """Runs to the end; returns the output."""
    process = start(arguments)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return output
