"""Losses over sequences: means over the valid steps.

Inputs narrower than float32 are converted, and the loss is float32, since sums in float16
overflow at 65504. A gradient has the dtype of the input that it belongs to.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Inexact, Integer, Shaped


AnyArray: TypeAlias = Array | np.ndarray


def valid_steps(lengths: Integer[Array, "B"], time: int) -> Bool[Array, "T B"]:
    """The mask of valid steps: `t < lengths[b]`.

    Args:
        lengths: valid steps of each sequence.
        time: T, the steps of the mask.

    Returns:
        `(T, B)` booleans.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn import training
        >>> training.valid_steps(jnp.array([2, 0]), 3).astype(int).tolist()
        [[1, 0], [1, 0], [0, 0]]
    """
    steps = jnp.arange(time)
    return steps[:, None] < lengths[None, :].astype(steps.dtype)


def masked_mean(
    values: Shaped[AnyArray, "T B"], mask: Bool[AnyArray, "T B"] | None = None
) -> Float[Array, ""]:
    """The mean of `values` where `mask` is True; 0 if `mask` is False everywhere.

    Values narrower than float32, integers and booleans are averaged in float32. Values where
    `mask` is False, NaN included, do not reach the mean. They do reach its gradient if they
    were computed from NaN; mask the inputs of that computation too, as the losses here do.

    Args:
        values: numbers of any dtype.
        mask: the steps to average; None for all.

    Returns:
        The mean, in float32 or wider.
    """
    values = _at_least_float32(values)
    if mask is None:
        return jnp.mean(values)
    kept = jnp.where(jnp.asarray(mask), values, jnp.zeros_like(values))
    return jnp.sum(kept) / jnp.maximum(jnp.sum(mask), 1).astype(values.dtype)


def _at_least_float32(x: Shaped[AnyArray, "..."]) -> Inexact[Array, "..."]:
    """`x` in float32 at least: sums in float16 overflow, and logarithms lose digits."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))


def cross_entropy(
    logits: Float[AnyArray, "T B v"],
    labels: Integer[AnyArray, "T B"],
    mask: Bool[AnyArray, "T B"] | None = None,
) -> Float[Array, ""]:
    """Mean negative log-likelihood of the labels, in nats per step.

        -1/N sum_tb log softmax(logits_tb)[labels_tb]

    Args:
        logits: scores of each symbol.
        labels: the correct symbols, 0 to v - 1.
        mask: the steps to average; None for all. See `valid_steps`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn import training
        >>> loss = training.cross_entropy(jnp.zeros((5, 2, 4)), jnp.zeros((5, 2), int))
        >>> round(float(loss), 4)  # ln 4
        1.3863
    """
    logits = _at_least_float32(logits)
    labels = jnp.asarray(labels)
    if mask is not None:
        mask = jnp.asarray(mask)
        logits = jnp.where(mask[..., None], logits, jnp.zeros_like(logits))
        labels = jnp.where(mask, labels, jnp.zeros_like(labels))
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return masked_mean(losses, mask)


def squared_error(
    predictions: Inexact[AnyArray, "T B y"],
    targets: Shaped[AnyArray, "T B y"],
    mask: Bool[AnyArray, "T B"] | None = None,
) -> Float[Array, ""]:
    """Mean squared error over the valid steps and all features.

        1/(N Y) sum_tby |predictions - targets|^2

    Args:
        predictions, targets: sequences.
        mask: the steps to average; None for all. See `valid_steps`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn import training
        >>> ones, mask = jnp.ones((3, 1, 2)), jnp.array([[True], [False], [False]])
        >>> float(training.squared_error(ones, 3 * ones, mask))
        4.0
    """
    difference = _at_least_float32(predictions) - _at_least_float32(targets)
    if mask is not None:
        mask = jnp.asarray(mask)
        difference = jnp.where(mask[..., None], difference, jnp.zeros_like(difference))
    squares = (difference * jnp.conj(difference)).real
    return masked_mean(jnp.mean(squares, axis=-1), mask)


def bernoulli(
    logits: Float[AnyArray, "T B y"],
    targets: Shaped[AnyArray, "T B y"],
    mask: Bool[AnyArray, "T B"] | None = None,
) -> Float[Array, ""]:
    """Mean negative log-likelihood of binary features, in nats per step.

        -1/N sum_tb sum_y targets log s + (1 - targets) log(1 - s),    s = sigmoid(logits)

    The loss is summed over features, the convention for polyphonic music.

    Args:
        logits: scores of each feature.
        targets: 0 or 1.
        mask: the steps to average; None for all. See `valid_steps`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn import training
        >>> zeros = jnp.zeros((3, 1, 2))
        >>> round(float(training.bernoulli(zeros, zeros)), 4)  # 2 ln 2
        1.3863
    """
    logits, targets = _at_least_float32(logits), _at_least_float32(targets)
    if mask is not None:
        mask = jnp.asarray(mask)
        logits = jnp.where(mask[..., None], logits, jnp.zeros_like(logits))
        targets = jnp.where(mask[..., None], targets, jnp.zeros_like(targets))
    losses = optax.sigmoid_binary_cross_entropy(logits, targets)
    return masked_mean(jnp.sum(losses, axis=-1), mask)
