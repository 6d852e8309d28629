"""Trains, evaluates, and writes: `python -m experiments.char_lm --help`."""

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import tyro
from rich.console import Console
from rich.table import Table

import jaxrnn
from jaxrnn import diagnostics

from . import model as language_model
from . import run, text
from .config import Config
from .picture import draw
from .train import train


def main() -> int:
    """Trains and evaluates one run, new or resumed; returns the exit status."""
    config = tyro.cli(Config, prog="python -m experiments.char_lm")
    console = Console()
    folder = config.resume
    if folder is not None:
        config = run.load_config(folder)
    data = text.load(config.text, config.held_out)
    folder = folder or run.new_folder(config, data.name)
    console.print(
        f"{data.name}: {len(data.train):,} symbols to train on, {len(data.held_out):,} "
        f"held out; writing to {folder}",
        soft_wrap=True,
    )
    try:
        params = train(config, data, folder, console)
        if params is not None:
            report(config, data, folder, params, console)
            return 0
    except KeyboardInterrupt:  # Ctrl-C a second time, or after the training
        pass
    again = f'make run ARGS="--resume {folder}"'
    console.print(f"Interrupted, and saved. To go on: {again}", soft_wrap=True)
    return 130


def report(
    config: Config, data: text.Text, folder: Path, params: Any, console: Console
) -> None:
    """Prints the table and a sample, and writes the picture and the sample."""
    model = language_model.make_model(config)
    metrics = run.Metrics(folder, config.updates).read()
    bits = [m["held_out_bits"] for m in metrics if "held_out_bits" in m][-1]
    baselines = {
        "unigram": text.unigram_bits(data),
        "bigram": text.bigram_bits(data),
    }
    table = Table("held-out text", "bits per character")
    for name, value in (*baselines.items(), (str(model.layers[1]), bits)):
        table.add_row(name, f"{value:.3f}")
    console.print(table)
    norms = gradient_by_lag(model, params, data)
    draw(folder / run.PICTURE, folder.name, metrics, baselines, norms)
    prompt = bytes(data.held_out[:64].astype(np.uint8).tolist())
    sample = language_model.write(model, params, prompt, config.sample, config.seed)
    run.write_whole(folder / "sample.txt", sample)
    console.print("After the first 64 symbols of the held-out text it writes:\n")
    console.print(sample, markup=False, highlight=False)
    console.print(
        f"\n{run.METRICS}, {run.PICTURE}, sample.txt, checkpoints/: {folder}",
        soft_wrap=True,
    )


def gradient_by_lag(model: jaxrnn.Layer, params: Any, data: text.Text) -> np.ndarray:
    """Gradient norm of a symbol's loss by time lag, over windows of the held-out text."""
    steps = min(100, len(data.held_out) // 2)
    starts = np.linspace(0, len(data.held_out) - steps - 1, 64).astype(int)
    rows = np.stack([data.held_out[s : s + steps + 1] for s in starts], axis=1)

    @jax.jit
    def norms(params, xs, targets):
        return diagnostics.gradient_norm_by_lag(
            model,
            params,
            xs,
            targets,
            optax.softmax_cross_entropy_with_integer_labels,
        )

    return np.asarray(norms(params, rows[:-1], rows[-1]))


if __name__ == "__main__":
    sys.exit(main())
