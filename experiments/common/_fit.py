"""The training of one model: progress, evaluation, interruption and resumption."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrnn import training

from ._progress import Bar, interruptible
from ._run import Metrics, Run


class Fitted(NamedTuple):
    """The parameters after a training, and the seconds that it took."""

    params: Any
    seconds: float


class _Saved(NamedTuple):
    """The content of a checkpoint: everything that the next update depends on."""

    train: training.TrainState
    average: Any  # the moving average of the parameters; () if there is none
    best: Any  # the parameters of the best evaluation; () if none is chosen
    best_value: Any
    carry: Any
    seconds: Any


def fit(
    run: Run,
    name: str,
    params: Any,
    loss: Callable[..., Any] | None,
    batch: Callable[[int], Any],
    optimizer: optax.GradientTransformation,
    *,
    updates: int,
    train_step: Callable[..., Any] | None = None,
    carry: Any = (),
    seed: int = 0,
    max_norm: float | None = None,
    average: float = 0.0,
    evaluate: Callable[[Any], dict[str, float]] | None = None,
    evaluate_every: int | None = None,
    choose: str | None = None,
) -> Fitted:
    """Trains one model to the end; a run that is resumed goes on where it was.

    Every update is logged to `name/metrics.jsonl`, and the checkpoints are in
    `name/checkpoints`. Ctrl-C saves a checkpoint and raises KeyboardInterrupt.

    Args:
        run: the run that the training belongs to.
        name: the name of the training, unique in the run, such as `gru/seed-0`.
        params: the initial parameters.
        loss: `loss(params, carry, key, batch) -> (scalar, carry)`. Trainings that give the
            same function and the same optimizer share one compiled program. None if
            `train_step` is given.
        batch: `batch(position)` for the position 0, 1, 2 ...; it must depend on nothing else,
            so that a resumed run sees the same data.
        optimizer: an optax optimizer.
        updates: the number of updates.
        train_step: a compiled `train_step(state, carry, key, batch) -> (state, report)` in
            place of one by backpropagation, as `training.make_train_step` makes them.
        carry: the carry of the first update, such as the state of truncated backpropagation.
        seed: the seed of the keys that `loss` gets.
        max_norm: the global norm above which a gradient is scaled down.
        average: the decay of a moving average of the parameters, which is then evaluated and
            returned; 0 for no average.
        evaluate: `evaluate(params)`, measures by name, which are logged.
        evaluate_every: updates between evaluations; None for one at the end.
        choose: the measure whose smallest value decides which parameters are returned; None
            for the last parameters.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    folder = run.folder / name
    saved = _start(params, optimizer, carry, average, choose)
    every = evaluate_every or updates
    with (
        training.Checkpoints(folder / "checkpoints") as checkpoints,
        interruptible() as interrupted,
        Bar(name, updates, run.console) as bar,
    ):
        if checkpoints.latest is not None:
            saved = checkpoints.restore(saved)
        before, start = float(saved.seconds), time.monotonic()
        kept, done = start, int(saved.train.step)
        with Metrics(folder, done) as metrics:
            update = train_step or _compiled(loss, optimizer, max_norm)
            loop = _Loop(
                name, update, batch, jax.random.key(seed), average, metrics, bar
            )
            while done < updates and not interrupted:
                saved = loop.step(saved, done)
                done += 1
                if evaluate and (done % every == 0 or done == updates):
                    saved = loop.evaluated(saved, done, evaluate, choose)
                now = time.monotonic()
                pause = run.options.save_seconds
                if done == updates or interrupted or now - kept > pause:
                    saved = saved._replace(seconds=np.asarray(before + now - start))
                    checkpoints.save(done, saved)
                    run.keep_time()
                    kept = time.monotonic()
    if interrupted:
        raise KeyboardInterrupt
    result = saved.best if choose else _current(saved, average)
    return Fitted(result, float(saved.seconds))


@dataclass(frozen=True)
class _Loop:
    """The body of the loop: an update or an evaluation, logged and shown."""

    name: str
    update: Callable[..., Any]
    batch: Callable[[int], Any]
    key: jax.Array
    average: float
    metrics: Metrics
    bar: Bar

    def step(self, saved: _Saved, done: int) -> _Saved:
        """The state after one more update."""
        key, batch = jax.random.fold_in(self.key, done), self.batch(done)
        train, report = self.update(saved.train, saved.carry, key, batch)
        saved = saved._replace(train=train, carry=report.aux)
        loss = _finite(float(report.loss), self.name, done + 1)
        norm = float(report.gradient_norm)
        self.metrics.log(update=done + 1, loss=loss, gradient_norm=norm)
        self.bar.show(done + 1, f"loss {loss:.4f}  |gradient| {norm:.2f}")
        return _averaged(saved, self.average)

    def evaluated(
        self,
        saved: _Saved,
        done: int,
        evaluate: Callable[[Any], Any],
        choose: str | None,
    ) -> _Saved:
        """The state with its parameters kept if they are the best so far."""
        measures = evaluate(_current(saved, self.average))
        self.metrics.log(update=done, **measures)
        self.bar.say("  ".join(f"{k} {v:.4f}" for k, v in measures.items()))
        return _better(saved, self.average, measures[choose]) if choose else saved


@functools.lru_cache(maxsize=4)  # a compiled program takes much memory
def _compiled(loss: Any, optimizer: Any, max_norm: float | None) -> Any:
    return training.make_train_step(loss, optimizer, max_norm=max_norm)


def _start(
    params: Any, optimizer: Any, carry: Any, average: float, choose: str | None
) -> _Saved:
    copy = lambda: jax.tree.map(jnp.copy, params)  # an update donates its parameters
    return _Saved(
        training.train_state(copy(), optimizer),
        copy() if average else (),
        copy() if choose else (),
        np.asarray(np.inf),
        carry,
        np.asarray(0.0),
    )


def _current(saved: _Saved, average: float) -> Any:
    return saved.average if average else saved.train.params


def _averaged(saved: _Saved, average: float) -> _Saved:
    if not average:
        return saved
    return saved._replace(average=_moved(saved.average, saved.train, average))


@jax.jit
def _moved(average: Any, state: training.TrainState, weight: float) -> Any:
    """The moving average of the parameters; its decay is smaller at the start."""
    step = state.step.astype(jnp.float32)
    past = jnp.minimum(weight, (1 + step) / (10 + step))
    return optax.incremental_update(state.params, average, 1 - past)


def _better(saved: _Saved, average: float, value: float) -> _Saved:
    """The state with its parameters kept if this evaluation is the best so far."""
    if not value < float(saved.best_value):
        return saved
    best = jax.tree.map(jnp.copy, _current(saved, average))
    return saved._replace(best=best, best_value=np.asarray(value))


def _finite(loss: float, name: str, update: int) -> float:
    if not np.isfinite(loss):
        raise FloatingPointError(
            f"{name}: the loss of update {update} is {loss}. Lower the learning rate or the "
            "norm at which gradients are clipped, and look for inputs that are not finite."
        )
    return loss
