"""A gradient method over a batch of whole sequences."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._arrays import state_dtype, valid_steps
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

    def no_sums(self) -> tuple[jax.Array, Any]:
        """Zeros for the sums of losses and gradients, in float32 at least."""
        loss = jnp.zeros((), jnp.finfo(state_dtype(self.params)).dtype)
        wide = lambda p: jnp.zeros(p.shape, state_dtype(p))
        return loss, jax.tree.map(wide, self.params)

    def mean_grads(self, sums: Any) -> Any:
        """The mean gradient, with the dtypes of the parameters."""
        return jax.tree.map(
            lambda s, p: self.mean(s).astype(p.dtype), sums, self.params
        )


def mean_loss(batch: Batch, ys: Any) -> jax.Array:
    """The mean of `step_loss` over all valid steps."""
    targets, valid = batch.targets, batch.valid
    if valid is not None:  # NaN in the padding must not reach a gradient
        targets = jax.tree.map(
            lambda t: jnp.where(valid.reshape(*valid.shape, *[1] * (t.ndim - 2)), t, 0),
            targets,
        )
    losses = jax.vmap(jax.vmap(batch.step_loss))(ys, targets)
    losses = losses.astype(state_dtype(losses))  # sums are float32 at least
    if valid is not None:
        losses = jnp.where(valid, losses, 0)
    return batch.mean(jnp.sum(losses))


def by_updates(method: Method, batch: Batch) -> tuple[jax.Array, Any, Any]:
    """`(value, grads, state)` by the method's online updates, summed over time and batch."""

    def update(
        trace: Any, state: Any, x: Any, target: Any, reset: Any, valid: Any
    ) -> Any:
        given = (batch.params, trace, state, x, target)
        masks = {"reset": reset, "valid": valid}
        return method.update(batch.layer, batch.step_loss, *given, **masks)

    def body(carry: Any, inputs: Any) -> Any:
        traces, state, sums = carry
        traces, state, losses, grads = jax.vmap(update)(traces, state, *inputs)
        return (traces, state, added(sums, (losses, grads))), None

    inputs = (batch.xs, batch.targets, batch.resets, batch.valid)
    start = (_traces(method, batch), batch.state, batch.no_sums())
    (_, state, (loss, grads)), _ = jax.lax.scan(body, start, inputs)
    return batch.mean(loss), batch.mean_grads(grads), state


def added(sums: Any, each: Any) -> Any:
    """The sums with the values of all sequences of a batch added, leaves `(B, ...)`."""
    return jax.tree.map(lambda s, v: s + v.sum(0).astype(s.dtype), sums, each)


def _traces(method: Method, batch: Batch) -> Any:
    """The trace of each sequence before its first step."""
    layer, params = batch.layer, batch.params
    x = jax.tree.map(lambda x: x[0, 0], batch.xs)
    size = jax.tree.leaves(batch.xs)[0].shape[1]
    keys = None if batch.key is None else jax.random.split(batch.key, size)
    init = lambda key: method.init(layer, params, x, key=key)
    traces = jax.vmap(init, axis_size=size)(keys)
    return traces if batch.is_initial else jax.vmap(method.detach)(traces)
