"""The 3-bit flip-flop: trains networks, and finds the fixed points that they remember with."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn

from ..common import Options, Result, Results, Run, count, fit
from .analysis import Analysis, analyse, bits_kept
from .picture import draw
from .task import BITS, Batch, make_batch


@dataclass(frozen=True)
class Config(Options):
    """Train networks to remember three bits, and find their fixed points."""

    hidden: int = 48
    """Hidden units."""
    time: int = 40
    """Steps of a sequence."""
    rate: float = 0.2
    """Probability of a pulse, for each bit and step."""
    batch: int = 64
    """Sequences of a batch."""
    updates: int = 600
    """Number of updates of the parameters."""
    learning_rate: float = 1e-2
    """Learning rate of Adam at the start; it decays to zero."""
    seeds: int = 3
    """Number of trainings of each cell, each with its own seed."""
    searches: int = 1024
    """Number of states from which fixed points are searched."""
    noise: float = 0.3
    """Standard deviation of the noise added to these states."""
    silent: int = 1000
    """Steps without a pulse after which the memories are tested."""


SMALL = Config(hidden=32, updates=400, seeds=1, searches=128, silent=100)

CELLS = {"tanh": jaxrnn.Elman, "GRU": jaxrnn.GRU}


def main(config: Config, run: Run) -> Results:
    """Trains each cell with several seeds, and analyses every network."""
    test = make_batch(np.random.default_rng(10**6), config.time, 256, config.rate)
    optimizer = optax.adam(
        optax.cosine_decay_schedule(config.learning_rate, config.updates)
    )
    rows, facts, shown = [], {}, {}
    for name, cell in CELLS.items():
        model = jaxrnn.Stack(
            (cell(BITS, config.hidden), jaxrnn.Dense(config.hidden, BITS))
        )
        loss = make_loss(model)
        trained = [
            train(config, run, name, s, model, loss, optimizer)
            for s in range(config.seeds)
        ]
        params = [one.params for one in trained]
        found = [analyse(model, p, test, config.searches, config.noise) for p in params]
        kept = [bits_kept(model, p, test, config.silent) for p in params]
        errors = [float(loss(p, (), None, test)[0]) for p in params]
        seconds = sum(one.seconds for one in trained)
        rows += table(
            config, name, count(params[0]), seconds, errors, found, kept, test
        )
        facts[name] = [one.by_unstable_directions() for one in found]
        _, ys = jaxrnn.unroll(model, params[0], test.pulses)
        shown[name] = (found[0], np.asarray(ys))
    draw(run.picture, test, shown)
    return Results(tuple(rows), {"fixed points by unstable directions": facts})


def make_loss(model: jaxrnn.Layer) -> Any:
    """The mean squared error of the bits that have had a pulse."""

    def loss(params: Any, carry: Any, key: Any, batch: Batch) -> tuple[jax.Array, Any]:
        _, ys = jaxrnn.unroll(model, params, batch.pulses)
        squares = jnp.where(batch.valid, (ys - batch.bits) ** 2, 0)
        return jnp.sum(squares) / jnp.sum(batch.valid).astype(squares.dtype), carry

    return loss


def train(
    config: Config,
    run: Run,
    name: str,
    seed: int,
    model: Any,
    loss: Any,
    optimizer: Any,
) -> Any:
    """Trains one network; returns its parameters and the seconds."""
    return fit(
        run,
        f"{name}/seed-{seed}",
        model.init(jax.random.key(seed)),
        loss,
        lambda position: make_batch(
            np.random.default_rng((seed, position)),
            config.time,
            config.batch,
            config.rate,
        ),
        optimizer,
        updates=config.updates,
        seed=seed,
        max_norm=1.0,
    )


def table(
    config: Config,
    cell: str,
    parameters: int,
    seconds: float,
    errors: list[float],
    found: list[Analysis],
    kept: list[float],
    test: Batch,
) -> list[Result]:
    """The error, the memories with a stable fixed point, and the bits kept in silence."""
    pulse = float(np.mean((test.pulses - test.bits)[test.valid] ** 2))
    common = (cell, parameters)
    return [
        Result(
            "3-bit flip-flop (many-to-many)", *common, "MSE", tuple(errors), seconds,
            goal="below 0.01", baselines={"the pulse of this step": pulse, "0": 1.0}, digits=4,
        ),
        Result(
            "memories with a stable fixed point, of 8", *common, "memories",
            tuple(float(one.corners) for one in found), seconds, goal="8", digits=1,
        ),
        Result(
            f"bits after {config.silent:,} steps of silence", *common, "fraction right",
            tuple(kept), seconds, baselines={"chance": 0.5},
        ),
    ]  # fmt: skip
