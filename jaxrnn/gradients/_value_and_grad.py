"""The entry: the value and the gradient of a loss over a batch of sequences."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, Key

from .. import _check
from .._layer import Layer
from .._typing import Batched, Params, Sequence
from .._unroll import unroll
from ._base import Method, StepLoss
from ._bptt import BPTT, ForwardMode
from ._whole import Batch, by_updates


_WITH_DROPOUT = (BPTT, ForwardMode)


def value_and_grad(
    layer: Layer,
    step_loss: StepLoss,
    params: Params,
    xs: Sequence,
    targets: Sequence,
    *,
    state: Batched | None = None,
    lengths: Integer[Array, "B"] | None = None,
    resets: Bool[Array, "T B"] | None = None,
    key: Key[Array, ""] | None = None,
    method: Method = BPTT(),
) -> tuple[Float[Array, ""], Params]:
    """The mean loss over all valid steps, and its gradient by any method.

        value = 1/N sum_tb step_loss(y_tb, target_tb),    grads = d value / d params

    A method may change the gradient, never the value. For one step at a time, use the
    method's `init` and `update`.

    Args:
        layer: any layer.
        step_loss: `step_loss(y, target)`, the loss of one sequence at one step: a scalar.
        params: its parameters.
        xs: `(T, B, features)`, or a pytree of such arrays.
        targets: leaves `(T, B, ...)`.
        state: the state to start from, leaves `(B, ...)`, a constant; None for the initial
            state, whose gradient counts if it is learned.
        lengths: `(B,)` valid steps of each sequence.
        resets: `(T, B)` booleans; True starts a step from the initial state, and no credit
            passes it.
        key: a random key: of dropout-like layers for `BPTT` and `ForwardMode`, and of the
            random signs of `UORO` and `KFRTRL`, which need one.
        method: the gradient method.

    Returns:
        `(value, grads)`, with gradients like `params`.

    Raises:
        TypeError, ValueError: if an argument is invalid.
        NotImplementedError: if the method does not fit the layer; it says which does.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.GRU(3, 4)
        >>> params, xs = cell.init(jax.random.key(0)), jnp.ones((5, 2, 3))
        >>> loss = lambda y, target: jnp.sum((y - target) ** 2)
        >>> targets = jnp.zeros((5, 2, 4))
        >>> value, grads = jaxrnn.value_and_grad(cell, loss, params, xs, targets)
        >>> same, exact = jaxrnn.value_and_grad(
        ...     cell, loss, params, xs, targets, method=jaxrnn.RTRL()
        ... )
        >>> bool(jnp.allclose(grads.u, exact.u, atol=1e-5))
        True
    """
    if not isinstance(method, Method):
        raise TypeError(
            f"method is {_check.described(method)}: give a gradient method, such as "
            "jaxrnn.BPTT() or jaxrnn.RTRL()."
        )
    given = _check.arguments(
        layer, params, xs, state, lengths, None, resets, False, key
    )
    _check_targets(targets, given.xs)
    _check_key(method, given.key)
    batch = Batch(
        layer,
        step_loss,
        given.params,
        given.xs,
        jax.tree.map(jnp.asarray, targets),
        given.state,
        state is None,
        given.lengths,
        given.resets,
        given.key,
    )
    _check_loss(batch)
    whole = getattr(method, "whole", None)
    value, grads, _ = whole(batch) if whole else by_updates(method, batch)
    return value, grads


def _check_targets(targets: Any, xs: Any) -> None:
    want = jax.tree.leaves(xs)[0].shape[:2]
    for leaf in jax.tree.leaves(targets):
        if jnp.shape(leaf)[:2] != want:
            raise ValueError(
                f"targets have the shape {jnp.shape(leaf)}, and xs {want} steps and "
                "sequences: give a target for each step, leaves (T, B, ...)."
            )


def _check_key(method: Method, key: Any) -> None:
    if key is None or method.random or isinstance(method, _WITH_DROPOUT):
        return
    raise ValueError(
        f"key= is for dropout, and {type(method).__name__} takes steps one at a time, "
        "without dropout: leave it out, or use BPTT()."
    )


def _check_loss(batch: Batch) -> None:
    one = lambda tree: jax.tree.map(lambda v: v[0, 0], tree)

    def loss() -> Any:
        _, ys = unroll(batch.layer, batch.params, batch.xs, batch.state)
        return batch.step_loss(one(ys), one(batch.targets))

    found = jax.eval_shape(loss)
    real = jnp.issubdtype(getattr(found, "dtype", bool), jnp.floating)
    if not real or found.shape != ():
        raise ValueError(
            f"step_loss must return one real number, the loss of one sequence at one step; "
            f"it returned {found}."
        )
