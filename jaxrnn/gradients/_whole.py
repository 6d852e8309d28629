"""A gradient method over a batch of whole sequences."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._arrays import valid_steps
from .._layer import Layer
from ._base import Method, StepLoss


class Batch(NamedTuple):
    """A batch of whole sequences, checked: what a gradient method is given.

    Attributes:
        layer, step_loss, params: as `value_and_grad` takes them.
        xs, targets: leaves `(T, B, ...)`.
        state: leaves `(B, ...)`; `is_initial` says whether it is the initial state.
        lengths, resets, key: as `unroll` takes them.
    """

    layer: Layer
    step_loss: StepLoss
    params: Any
    xs: Any
    targets: Any
    state: Any
    is_initial: bool
    lengths: Any = None
    resets: Any = None
    key: Any = None

    @property
    def valid(self) -> Any:
        """`(T, B)` booleans; None if all steps are valid."""
        time = jax.tree.leaves(self.xs)[0].shape[0]
        return None if self.lengths is None else valid_steps(self.lengths, time)

    @property
    def count(self) -> Any:
        """The number of valid steps, at least 1."""
        time, batch = jax.tree.leaves(self.xs)[0].shape[:2]
        valid = self.valid
        return time * batch if valid is None else jnp.maximum(jnp.sum(valid), 1)

    def mean(self, total: jax.Array) -> jax.Array:
        """A sum over all valid steps, divided by their number."""
        return (total / jnp.asarray(self.count, total.real.dtype)).astype(total.dtype)


def mean_loss(batch: Batch, ys: Any) -> jax.Array:
    """The mean of `step_loss` over all valid steps."""
    targets, valid = batch.targets, batch.valid
    if valid is not None:  # NaN in the padding must not reach a gradient
        targets = jax.tree.map(
            lambda t: jnp.where(valid.reshape(*valid.shape, *[1] * (t.ndim - 2)), t, 0),
            targets,
        )
    losses = jax.vmap(jax.vmap(batch.step_loss))(ys, targets)
    if valid is not None:
        losses = jnp.where(valid, losses, 0)
    return batch.mean(jnp.sum(losses))


def by_updates(method: Method, batch: Batch) -> tuple[jax.Array, Any, Any]:
    """`(value, grads, state)` by the method's online updates, summed over time and batch."""
    layer, params = batch.layer, batch.params
    first = jax.tree.map(lambda x: x[0, 0], batch.xs)
    size = jax.tree.leaves(batch.xs)[0].shape[1]
    if batch.key is None:
        trace = method.init(layer, params, first)
        traces = jax.tree.map(lambda v: jnp.broadcast_to(v, (size, *v.shape)), trace)
    else:
        keys = jax.random.split(batch.key, size)
        traces = jax.vmap(lambda key: method.init(layer, params, first, key=key))(keys)
    if not batch.is_initial:
        traces = jax.vmap(method.detach)(traces)

    def update(
        trace: Any, state: Any, x: Any, target: Any, reset: Any, valid: Any
    ) -> Any:
        return method.update(
            layer,
            batch.step_loss,
            params,
            trace,
            state,
            x,
            target,
            reset=reset,
            valid=valid,
        )

    def body(carry: Any, inputs: Any) -> Any:
        traces, state, loss, grads = carry
        traces, state, losses, each = jax.vmap(update)(traces, state, *inputs)
        grads = jax.tree.map(lambda total, g: total + g.sum(0), grads, each)
        return (traces, state, loss + losses.sum(), grads), None

    nothing = jax.tree.map(jnp.zeros_like, params)
    inputs = (batch.xs, batch.targets, batch.resets, batch.valid)
    shape = jax.eval_shape(
        lambda: jax.vmap(update)(
            traces, batch.state, *jax.tree.map(lambda x: x[0], inputs)
        )
    )
    zero = jnp.zeros((), shape.loss.dtype)
    carry = (traces, batch.state, zero, nothing)
    (_, state, loss, grads), _ = jax.lax.scan(body, carry, inputs)
    return batch.mean(loss), jax.tree.map(batch.mean, grads), state
