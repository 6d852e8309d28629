"""The training loop: progress, interruption and resumption."""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from jaxrnn import training

from . import model as language_model
from .config import Config
from .run import Metrics
from .text import Text


class Saved(NamedTuple):
    """The content of a checkpoint: everything that the next update depends on."""

    train: training.TrainState
    average: Any
    carry: Any
    key: jax.Array
    position: np.ndarray


def start(config: Config, model: Any, optimizer: Any) -> Saved:
    """The state before the first update."""
    init_key, key = jax.random.split(jax.random.key(config.seed))
    params = model.init(init_key)
    return Saved(
        training.train_state(params, optimizer),
        jax.tree.map(jnp.copy, params),
        language_model.initial_carry(model, params, config.batch),
        key,
        np.asarray(0),
    )


def train(config: Config, text: Text, folder: Path, console: Console) -> Any | None:
    """Trains to the end or until Ctrl-C; returns the parameters, or None if interrupted."""
    model = language_model.make_model(config)
    optimizer = language_model.make_optimizer(config)
    update = training.make_train_step(
        language_model.make_loss(model, config), optimizer, max_norm=config.max_norm
    )
    batches = training.TextBatches(
        text.train, config.batch, config.time, config.restart_every
    )
    evaluate = language_model.make_evaluate(model, text.held_out)
    saved = start(config, model, optimizer)
    with (
        training.Checkpoints(folder / "checkpoints") as checkpoints,
        interruptible() as interrupted,
        Bar(config, console) as bar,
    ):
        if checkpoints.latest is not None:
            saved = checkpoints.restore(saved)
        done = int(saved.train.step)
        with Metrics(folder, done) as metrics:
            while done < config.updates and not interrupted:
                saved, report = one_update(config, update, batches, saved)
                done += 1
                loss, norm = float(report.loss), float(report.gradient_norm)
                metrics.log(update=done, loss=loss, gradient_norm=norm)
                bar.show(done, loss, norm)
                if done % config.evaluate_every == 0 or done == config.updates:
                    bits = evaluate(saved.average)
                    metrics.log(update=done, held_out_bits=bits)
                    bar.show_held_out(bits)
                if done % config.save_every == 0 or done == config.updates:
                    checkpoints.save(done, saved)
        if done < config.updates and checkpoints.latest != done:
            checkpoints.save(done, saved)
    return saved.average if done >= config.updates else None


def one_update(config: Config, update: Any, batches: Any, saved: Saved) -> Any:
    """Trains on one batch; returns the state after it, and the report of the update."""
    key, now = jax.random.split(saved.key)
    batch = batches[int(saved.position)]
    state, report = update(saved.train, saved.carry, now, batch)
    average = moved(saved.average, state, config.average)
    return Saved(state, average, report.aux, key, saved.position + 1), report


@jax.jit
def moved(average: Any, state: training.TrainState, weight: float) -> Any:
    """The moving average of the parameters; its decay is smaller at the start."""
    step = state.step.astype(jnp.float32)
    past = jnp.minimum(weight, (1 + step) / (10 + step))
    return optax.incremental_update(state.params, average, 1 - past)


@contextlib.contextmanager
def interruptible() -> Iterator[list[int]]:
    """Yields a list that gets an entry at Ctrl-C; a second Ctrl-C raises KeyboardInterrupt."""
    pressed: list[int] = []

    def note(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


class Bar:
    """The progress bar: loss, bits per character, gradient norm, characters per second."""

    def __init__(self, config: Config, console: Console):
        self._symbols = config.batch * config.time
        self._updates, self._console = config.updates, console
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=config.updates, figures="")
        self._clock: tuple[float, int] | None = None
        self._speed = 0.0

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.stop()

    def show(self, done: int, loss: float, norm: float) -> None:
        """Shows the figures after an update; without a terminal, prints every 5 %."""
        now = time.perf_counter()
        if self._clock is not None and now - self._clock[0] > 2:
            since, before = self._clock
            self._speed = (done - before) * self._symbols / (now - since)
        if self._clock is None or now - self._clock[0] > 2:
            self._clock = now, done
        figures = (
            f"loss {loss:.3f}  bits {loss / np.log(2):.2f}  |gradient| {norm:.2f}  "
            f"{self._speed:,.0f} characters/s"
        )
        self._progress.update(self._task, completed=done, figures=figures)
        if not self._console.is_terminal and done % max(1, self._updates // 20) == 0:
            self._console.print(f"{done}/{self._updates}  {figures}")

    def show_held_out(self, bits: float) -> None:
        """Prints the held-out figure, and restarts the clock, since evaluation took time."""
        self._console.print(f"held-out text: {bits:.3f} bits per character")
        self._clock = None
