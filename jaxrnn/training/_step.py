"""One update of the parameters, compiled."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from .._arrays import state_dtype


class TrainState(NamedTuple):
    """The state of the optimization: parameters, optimizer state, and the number of updates."""

    params: Any
    opt_state: optax.OptState
    step: Int[Array, ""]


class Update(NamedTuple):
    """The report of one update: the loss, the gradient norm before clipping, and `aux`."""

    loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    aux: Any


def train_state(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first update."""
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))


def make_train_step(
    loss: Callable[..., tuple[Float[Array, ""], Any]],
    optimizer: optax.GradientTransformation,
    *,
    max_norm: float | None = None,
) -> Callable[..., tuple[TrainState, Update]]:
    """A compiled `step(state, *batch) -> (state, Update)`.

        g = d loss / d params;    g *= min(1, max_norm / |g|);    params += optimizer(g)

    Clipping keeps the direction of an exploding gradient. The norm is computed in float32 at
    least, also for float16 gradients. The gradient of a complex parameter is conjugated, so
    that an optimizer step lowers the loss. The old state is donated: do not read it again.

    Args:
        loss: `loss(params, *batch) -> (scalar, aux)`; aux is returned in the `Update`, such as
            the state that the next batch starts from.
        optimizer: the optax optimizer that `train_state` was given.
        max_norm: the global norm above which the gradient is scaled down; None for no limit.

    Returns:
        The compiled `step`.

    Raises:
        ValueError: for a `max_norm` that is not above 0.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn, optax
        >>> from jaxrnn import training
        >>> model = jaxrnn.Stack((jaxrnn.GRU(3, 8), jaxrnn.Dense(8, 1)))
        >>> def loss(params, xs, targets):
        ...     _, ys = jaxrnn.unroll(model, params, xs)
        ...     return training.squared_error(ys, targets), None
        >>> optimizer = optax.adam(1e-2)
        >>> step = training.make_train_step(loss, optimizer, max_norm=1.0)
        >>> state = training.train_state(model.init(jax.random.key(0)), optimizer)
        >>> xs, targets = jnp.ones((5, 2, 3)), jnp.ones((5, 2, 1))
        >>> state, first = step(state, xs, targets)
        >>> for _ in range(20):
        ...     state, last = step(state, xs, targets)
        >>> bool(last.loss < first.loss)
        True

    Reference: Pascanu, Mikolov, Bengio 2013, arXiv:1211.5063.
    """
    if max_norm is not None and not max_norm > 0:
        raise ValueError(
            f"max_norm={max_norm!r}: give a norm above 0, or None for no limit."
        )

    def step(state: TrainState, *batch: Any) -> tuple[TrainState, Update]:
        (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(
            state.params, *batch
        )
        # for complex parameters JAX returns the conjugate of the direction of ascent
        grads = jax.tree.map(jnp.conj, grads)
        norm = optax.tree.norm(jax.tree.map(lambda g: g.astype(state_dtype(g)), grads))
        if max_norm is not None:
            scale = jnp.minimum(1, max_norm / norm)
            grads = jax.tree.map(lambda g: g * scale.astype(g.dtype), grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        report = Update(value, norm, aux)
        return TrainState(params, opt_state, state.step + 1), report

    return jax.jit(step, donate_argnums=0)
