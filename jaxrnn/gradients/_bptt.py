"""Backpropagation through time, and forward mode: exact, over whole sequences."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .._unroll import unroll
from .._validate import check_sizes
from ..strategies import Auto, Strategy
from ._base import Method
from ._rtrl import RTRL
from ._split import to_real, to_tree
from ._whole import Batch, mean_loss


@dataclass(frozen=True)
class BPTT(Method):
    """Backpropagation through time: the exact gradient, with any strategy.

        d/d params of the mean of step_loss(y_t, target_t) over all valid steps

    It needs the whole sequence, so it has no online form; `TBPTT` has one.

    Costs: those of the strategy; T states for `Scan()`.

    Args:
        strategy: how the recurrence is executed.

    Reference: Werbos 1990, doi:10.1109/5.58337.
    """

    exact: ClassVar[bool] = True

    strategy: Strategy = Auto()

    def whole(self, batch: Batch) -> tuple[jax.Array, Any, Any]:
        by = jax.value_and_grad(lambda p: _run(batch, p, self.strategy), has_aux=True)
        (value, state), grads = by(batch.params)
        return value, grads, state

    def init(self, layer, params, x, *, key=None):
        raise NotImplementedError(
            "BPTT() has no online form, since it needs the whole sequence. TBPTT(1, k) looks "
            "back k steps in every step, and RTRL() is exact."
        )

    def update(self, *given, **options):
        return self.init(None, None, None)


def _run(batch: Batch, params: Any, strategy: Any) -> tuple[jax.Array, Any]:
    """The mean loss, and the state after the last step."""
    state, ys = unroll(
        batch.layer,
        params,
        batch.xs,
        None if batch.is_initial else batch.state,
        lengths=batch.lengths,
        resets=batch.resets,
        key=batch.key,
        strategy=strategy,
    )
    return mean_loss(batch, ys), state


@dataclass(frozen=True)
class ForwardMode(Method):
    """Forward-mode differentiation: one pass for each parameter, and no stored states.

        dL / d params_i = the derivative of the loss in the direction of params_i

    It is exact and slow: p forward passes for p parameters, `chunk` of them at a time, each
    with the memory of one state. Online, it is `RTRL`.

    Args:
        chunk: the number of directions that run together.

    Raises:
        TypeError: if `chunk` is not an integer.
        ValueError: if `chunk` is below 1.

    Reference: Williams & Zipser 1989, doi:10.1162/neco.1989.1.2.270.
    """

    exact: ClassVar[bool] = True

    chunk: int = 64

    def __post_init__(self):
        check_sizes(self, "chunk")

    def whole(self, batch: Batch) -> tuple[jax.Array, Any, Any]:
        leaves, tree = jax.tree.flatten(batch.params)
        flat = to_real(leaves)

        def loss(flat: Any) -> tuple[jax.Array, Any]:
            return _run(batch, jax.tree.unflatten(tree, to_tree(flat, leaves)), Auto())

        def along(i: Any) -> jax.Array:
            direction = jnp.zeros_like(flat).at[i].set(1)
            return jax.jvp(lambda flat: loss(flat)[0], (flat,), (direction,))[1]

        value, state = loss(flat)
        size = min(self.chunk, flat.size)
        grads = jax.lax.map(along, jnp.arange(flat.size), batch_size=size)
        made = map(jnp.conj, to_tree(grads, leaves))
        return value, jax.tree.unflatten(tree, made), state

    def init(self, layer, params, x, *, key=None):
        return RTRL().init(layer, params, x, key=key)

    def update(self, *given, **options):
        return RTRL().update(*given, **options)
