"""A network that learns from streams: one update of the parameters for every sample."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import jaxrnn
from jaxrnn import training
from jaxrnn.gradients import Method


class Samples(NamedTuple):
    """Samples of parallel streams, leaves `(T, streams, features)`.

    Attributes:
        x, target: what is learned.
        now: the newest input, where the target is only known later; None where it is known
            with x.
        truth: the target of `now`, which the forecast is compared with.
    """

    x: Any
    target: Any
    now: Any = None
    truth: Any = None


class Memory(NamedTuple):
    """All that is kept of the past: leaves `(streams, ...)`.

    Attributes:
        trace: the trace of the gradient method.
        state: the state of the network after the last x.
        now: its state after the last `now`; () where there is none.
    """

    trace: Any
    state: Any
    now: Any


def start(
    layer: jaxrnn.Layer, method: Method, params: Any, streams: int, ahead: bool
) -> Memory:
    """The memory before the first sample."""
    state = layer.initial_state(params)
    trace = method.init(layer, params, jnp.zeros(1))
    each = lambda tree: jax.tree.map(lambda v: jnp.stack([v] * streams), tree)
    return Memory(each(trace), each(state), each(state) if ahead else ())


@functools.lru_cache(maxsize=32)
def make_train_step(
    layer: jaxrnn.Layer,
    method: Method,
    step_loss: Callable[..., Any],
    optimizer: optax.GradientTransformation,
) -> Callable[..., Any]:
    """A compiled `step(state, memory, key, samples) -> (state, report)`: T updates.

    The reported loss is the mean over the samples, each of which was predicted before it was
    learned from: `step_loss` where the target is known with x, and otherwise the absolute
    error of the forecast from `now`.
    """

    def one(carry: Any, sample: Samples) -> Any:
        (params, opt_state, step), memory = carry

        def update(trace: Any, state: Any, x: Any, target: Any) -> Any:
            return method.update(layer, step_loss, params, trace, state, x, target)

        trace, state, losses, grads = jax.vmap(update)(
            memory.trace, memory.state, sample.x, sample.target
        )
        grads = jax.tree.map(lambda g: jnp.mean(g, axis=0), grads)
        change, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, change)
        now, errors = memory.now, losses
        if sample.now is not None:
            run = jax.vmap(layer.step, (None, 0, 0))
            now, ys = run(params, memory.now, sample.now)
            errors = jnp.abs(ys - sample.truth)
        state = training.TrainState(params, opt_state, step), Memory(trace, state, now)
        return state, (jnp.mean(errors), optax.tree.norm(grads))

    def steps(state: training.TrainState, memory: Memory, key: Any, samples: Samples):
        (state, memory), (errors, norms) = jax.lax.scan(one, (state, memory), samples)
        report = training.Update(jnp.mean(errors), jnp.mean(norms), memory)
        return state._replace(step=state.step + 1), report

    return jax.jit(steps, donate_argnums=0)
