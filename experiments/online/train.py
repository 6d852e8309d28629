"""Learning from streams by gradient methods that store no past, against truncated BPTT."""

from dataclasses import dataclass
from functools import partial

from ..common import Options, Results, Run
from . import baselines, copying, series
from .contenders import Curve, Task, contenders, numbers_kept, train_all
from .measures import results
from .picture import draw


@dataclass(frozen=True)
class Config(Options):
    """Learn from streams, one sample at a time."""

    delay: int = 6
    """Steps back of the bit that the copy task asks for."""
    streams: int = 4
    """Parallel streams of the copy task."""
    samples: int = 16000
    """Samples of each stream of the copy task."""
    copy_learning_rate: float = 5e-3
    """Learning rate of Adam in the copy task."""
    ahead: int = 6
    """Hours from the newest temperature to the one that is forecast, at most 24."""
    weeks: int | None = None
    """Weeks of the temperatures; None for all."""
    learning_rate: float = 1e-3
    """Learning rate of Adam for the temperatures."""
    units: int = 16
    """Units of the GRU."""
    linear_units: int = 8
    """Complex units of the LRU."""
    window: int = 24
    """Steps of the longer window of truncated backpropagation; the shorter has `delay`."""
    seeds: int = 3
    """Number of trainings by each method."""


SMALL = Config(
    delay=2, samples=4000, copy_learning_rate=1e-2, weeks=3, units=8, linear_units=4,
    window=4, seeds=1,
)  # fmt: skip
CHUNK = 500
"""Samples of the copy task in one update of the progress bar."""


def main(config: Config, run: Run) -> Results:
    """Trains every contender on every stream; each sample is predicted, then learned."""
    pairs = contenders(config.units, config.linear_units, config.window, config.delay)
    copy = Task(
        "copy",
        copying.batches(config.delay, config.streams, CHUNK, seed=1),
        copying.step_loss,
        config.samples // CHUNK,
        config.streams,
        config.copy_learning_rate,
    )
    curves: dict[str, dict[str, Curve]] = {
        copy.name: train_all(run, copy, pairs, config.seeds)
    }
    simple: dict[str, dict[str, list[float]]] = {}
    for one in series.load(config.data_dir, config.weeks):
        task = Task(
            one.name,
            series.batches(one, config.ahead),
            series.step_loss,
            len(one.hours(config.ahead)) // series.WEEK,
            1,
            config.learning_rate,
        )
        found = train_all(run, task, pairs, config.seeds)
        curves[one.name] = {k: c.scaled(one.deviation) for k, c in found.items()}
        errors = partial(baselines.weekly_errors, one, config.ahead, series.WEEK)
        simple[one.name] = run.once(f"baselines/{one.name}", errors)
    rows = results(curves, simple, config.delay, config.ahead)
    draw(run.picture, curves, simple, CHUNK, config.ahead)
    return Results(tuple(rows), {"numbers kept of the past": numbers_kept(pairs)})
