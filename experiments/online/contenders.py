"""Networks, each with the gradient method that it learns by, and their training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import jaxrnn
from jaxrnn.gradients import Method

from ..common import Run, count, fit
from .learner import make_train_step, start


MAX_NORM = 1.0
"""Global norm above which the gradient of a sample is scaled down."""

WIDTH = 4
"""Features that the LRU reads and writes."""


class Contender(NamedTuple):
    """A network and the method that it learns by."""

    cell: str
    layer: jaxrnn.Layer
    method: Method

    @property
    def name(self) -> str:
        """For readers, such as "GRU, RTRL"."""
        method, title = self.method, type(self.method).__name__
        if isinstance(method, jaxrnn.TBPTT):
            title += f" over {method.k2}"
        if isinstance(method, jaxrnn.SnAp):
            title += f"-{method.n}"
        return f"{self.cell}, {title}"

    @property
    def folder(self) -> str:
        """The name as that of a folder."""
        return self.name.lower().replace(", ", "-").replace(" ", "-")


class Task(NamedTuple):
    """A stream: `batch(position)`, the loss of a sample, and the number of batches."""

    name: str
    batch: Callable[[int], Any]
    step_loss: Callable[..., Any]
    updates: int
    streams: int
    learning_rate: float


@dataclass(frozen=True, eq=False)
class Curve:
    """The errors of a contender, `(seeds, updates)`, of predictions before learning."""

    cell: str
    errors: np.ndarray
    seconds: float
    parameters: int

    def scaled(self, factor: float) -> "Curve":
        """The same errors in another unit."""
        return Curve(self.cell, factor * self.errors, self.seconds, self.parameters)


def contenders(
    units: int, linear_units: int, window: int, short: int
) -> list[Contender]:
    """A GRU, and an LRU, whose recurrence is element-wise, by the methods that suit each."""
    truncated = jaxrnn.TBPTT(1, window), jaxrnn.TBPTT(1, short)
    of_gru = jaxrnn.RTRL(), jaxrnn.SnAp(1), jaxrnn.Immediate(), *truncated
    of_lru = jaxrnn.DiagonalRTRL(), jaxrnn.Immediate(), *truncated
    gru = jaxrnn.Stack((jaxrnn.GRU(1, units), jaxrnn.Dense(units, 1)))
    lru = jaxrnn.Stack(
        (
            jaxrnn.Dense(1, WIDTH),
            jaxrnn.LRU(WIDTH, linear_units),
            jaxrnn.Dense(WIDTH, 1),
        )
    )
    return [
        *(Contender("GRU", gru, method) for method in of_gru),
        *(Contender("LRU", lru, method) for method in of_lru),
    ]


def train_all(
    run: Run, task: Task, pairs: list[Contender], seeds: int
) -> dict[str, Curve]:
    """The errors of all contenders on one stream, by name."""
    optimizer = optax.chain(
        optax.clip_by_global_norm(MAX_NORM), optax.adam(task.learning_rate, b2=0.99)
    )
    curves = {}
    for pair in pairs:
        folders = [f"{task.name}/{pair.folder}/seed-{seed}" for seed in range(seeds)]
        fitted = [
            _train(run, task, pair, optimizer, folder, seed)
            for seed, folder in enumerate(folders)
        ]
        errors = [[line["loss"] for line in run.metrics(f)] for f in folders]
        seconds = sum(f.seconds for f in fitted)
        curve = Curve(pair.cell, np.array(errors), seconds, count(fitted[0].params))
        curves[pair.name] = curve
    return curves


def _train(
    run: Run, task: Task, pair: Contender, optimizer: Any, folder: str, seed: int
) -> Any:
    params = pair.layer.init(jax.random.key(seed))
    ahead = task.batch(0).now is not None
    return fit(
        run,
        folder,
        params,
        None,
        task.batch,
        optimizer,
        updates=task.updates,
        train_step=make_train_step(pair.layer, pair.method, task.step_loss, optimizer),
        carry=start(pair.layer, pair.method, params, task.streams, ahead),
        seed=seed,
    )


def numbers_kept(pairs: list[Contender]) -> dict[str, int]:
    """How many numbers the trace of one stream has, by contender."""

    def kept(pair: Contender) -> int:
        params = pair.layer.init(jax.random.key(0))
        return count(start(pair.layer, pair.method, params, 1, False).trace)

    return {pair.name: kept(pair) for pair in pairs}
