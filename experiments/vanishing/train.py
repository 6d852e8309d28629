"""Six networks that remember three bits, with and without remedies, and their gradients."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jaxrnn import training

from ..common import Options, Result, Results, Run, count, fit
from .data import constant_error, draw_memories
from .measures import seen
from .model import NETWORKS, REMEDIES, Case, Params, Rememberer, make_loss, rememberer
from .picture import draw


@dataclass(frozen=True)
class Config(Options):
    """See gradients vanish and explode, and what each remedy changes."""

    steps: int = 60
    """Time steps of a sequence."""
    hidden: int = 64
    """Units of each network."""
    batch: int = 64
    """Sequences of a batch."""
    updates: int = 1500
    """Updates of each training."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    penalty: float = 0.1
    """Weight of a penalty in the loss."""
    flossing: int = 200
    """Updates of gradient flossing before training."""
    flossed: int = 10
    """Lyapunov exponents that flossing moves toward zero."""
    test: int = 1000
    """Sequences to test on."""
    seeds: int = 3
    """Number of trainings of each network."""


SMALL = Config(
    steps=8, hidden=12, batch=32, updates=120, learning_rate=1e-2,
    flossing=20, flossed=4, test=50, seeds=1,
)  # fmt: skip


class Trained(NamedTuple):
    """One case: errors and seconds over seeds, and what the diagnostics saw of the first."""

    parameters: int
    errors: list[float]
    seconds: float
    start: dict[str, Any]
    end: dict[str, Any]


def main(config: Config, run: Run) -> Results:
    """Trains every case, and measures its gradients before and after."""
    test = draw_memories(config.steps, config.test, np.random.default_rng(0))
    constant = constant_error(test)
    found = {case: trained(config, run, case) for case in (*NETWORKS, *REMEDIES)}
    draw(run.picture, {case: result for case, result in found.items()}, constant)
    rows = [row(config, case, result, constant) for case, result in found.items()]
    facts = {
        case.name: {
            "exponent at the start": result.start["exponents"][0],
            "exponent at the end": result.end["exponents"][0],
            "gradient at the longest lag, over that of the last step, at the start": (
                result.start["norms"][-1] / result.start["norms"][0]
            ),
        }
        for case, result in found.items()
    }
    return Results(tuple(rows), facts)


def trained(config: Config, run: Run, case: Case) -> Trained:
    """Trains a case with every seed."""
    test = draw_memories(config.steps, config.test, np.random.default_rng(0))
    shown = jax.tree.map(lambda leaf: leaf[..., :16, :], test)
    model = rememberer(case.cell(config.hidden), shown.xs)
    loss, optimizer = (
        make_loss(model, case.penalty, config.penalty),
        optax.adam(config.learning_rate),
    )
    error = jax.jit(lambda p: model.error(p, model.outputs(p, test.xs), test.bits))
    errors, views, seconds = [], [], 0.0
    params: Params = model.init(jax.random.key(0))
    for seed in range(config.seeds):
        params, spent = start(config, run, case, model, seed)
        name = f"{case.name}/seed-{seed}"
        batch = lambda i, seed=seed: drawn(config, seed, i)
        one = fit(
            run, name, params, loss, batch, optimizer,
            updates=config.updates, seed=seed, max_norm=case.max_norm,
        )  # fmt: skip
        errors.append(float(error(one.params)))
        seconds += one.seconds + spent
        if seed == 0:
            views = [seen(model, p, shown) for p in (params, one.params)]
    return Trained(count(params), errors, seconds, *views)


def start(
    config: Config, run: Run, case: Case, model: Rememberer, seed: int
) -> tuple[Params, float]:
    """The initial parameters, after flossing if the case asks for it, and its seconds."""
    params = model.init(jax.random.key(seed))
    if not case.flossed:
        return params, 0.0

    def loss(params: Params, carry: Any, key: Any, batch: Any) -> Any:
        penalty = training.gradient_flossing(
            model.cell, params.cell, batch.xs[:, :8], config.flossed
        )
        return penalty, carry

    flossed = fit(
        run, f"{case.name}/flossing-{seed}", params, loss,
        lambda i: drawn(config, seed, i), optax.adam(config.learning_rate),
        updates=config.flossing, seed=seed,
    )  # fmt: skip
    return flossed.params, flossed.seconds


def drawn(config: Config, seed: int, position: int) -> Any:
    """The batch at a position of the stream."""
    rng = np.random.default_rng((seed, 1, position))
    return draw_memories(config.steps, config.batch, rng)


def row(config: Config, case: Case, result: Trained, constant: float) -> Result:
    """The line of a case."""
    return Result(
        f"three bits after {config.steps} steps (many-to-one)",
        f"{case.network}: {case.remedy}" if case.remedy else case.network,
        result.parameters,
        "squared error",
        tuple(result.errors),
        result.seconds,
        baselines={"constant": constant},
        digits=4,
        headline=not case.remedy,
    )
