"""Losses over sequences: a mean over the steps that count.

Inputs narrower than float32 are widened, and the loss is float32: sums of float16 overflow at
65504. Gradients keep the dtype of what they are of.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Inexact, Integer, Shaped


AnyArray: TypeAlias = Array | np.ndarray


def valid_steps(lengths: Integer[Array, "B"], time: int) -> Bool[Array, "T B"]:
    """Which steps of each row count: `t < lengths[b]`.

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
    """The mean of `values` where `mask` is True; 0 if it is nowhere.

    Values narrower than float32, integers and booleans are added up, and their mean is
    returned, in float32. What stands elsewhere does not reach the mean, NaN included.
    Where a value is computed from NaN its gradient is NaN as well: mask its inputs, as the
    losses here do.
    """
    values = _wide(values)
    if mask is None:
        return jnp.mean(values)
    kept = jnp.where(jnp.asarray(mask), values, jnp.zeros_like(values))
    return jnp.sum(kept) / jnp.maximum(jnp.sum(mask), 1).astype(values.dtype)


def _wide(x: Shaped[AnyArray, "..."]) -> Inexact[Array, "..."]:
    """In float32, or wider where it is: sums of float16 overflow, logarithms round."""
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
        labels: the right symbols, 0 to v - 1.
        mask: which steps count; None for all. See `valid_steps`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn import training
        >>> loss = training.cross_entropy(jnp.zeros((5, 2, 4)), jnp.zeros((5, 2), int))
        >>> round(float(loss), 4)  # ln 4
        1.3863
    """
    logits = _wide(logits)
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
    """Mean squared error, over the steps that count and all features.

        1/(N Y) sum_tby |predictions - targets|^2

    Args:
        predictions, targets: sequences.
        mask: which steps count; None for all. See `valid_steps`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn import training
        >>> ones, mask = jnp.ones((3, 1, 2)), jnp.array([[True], [False], [False]])
        >>> float(training.squared_error(ones, 3 * ones, mask))
        4.0
    """
    difference = _wide(predictions) - _wide(targets)
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

    Summed over features, as polyphonic music is reported.

    Args:
        logits: scores of each feature.
        targets: 0 or 1.
        mask: which steps count; None for all. See `valid_steps`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn import training
        >>> zeros = jnp.zeros((3, 1, 2))
        >>> round(float(training.bernoulli(zeros, zeros)), 4)  # 2 ln 2
        1.3863
    """
    logits, targets = _wide(logits), _wide(targets)
    if mask is not None:
        mask = jnp.asarray(mask)
        logits = jnp.where(mask[..., None], logits, jnp.zeros_like(logits))
        targets = jnp.where(mask[..., None], targets, jnp.zeros_like(targets))
    losses = optax.sigmoid_binary_cross_entropy(logits, targets)
    return masked_mean(jnp.sum(losses, axis=-1), mask)
