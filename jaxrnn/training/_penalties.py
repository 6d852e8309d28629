"""Penalties on outputs and recurrent weights, to be added to a loss.

They are pure functions of outputs or parameters; multiply each by its coefficient. To clip
the whole gradient, use optax's `clip_by_global_norm`, or `max_norm` of `make_train_step`; to
clip it at every step, `jaxrnn.ClipGradient`. Nothing in the padding, NaN included, reaches a
penalty or its gradient. Sums are in float32 at least.
"""

from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, Integer

from .._arrays import state_dtype
from .._arrays import valid_steps as _valid_steps
from .._validate import as_array, check_lengths
from ._losses import masked_mean


AnyArray: TypeAlias = Array | np.ndarray
# the functions check the shapes, with a message that says what to do
Lengths: TypeAlias = Integer[AnyArray, "..."] | None


def activation_regularization(
    ys: Inexact[AnyArray, "..."], lengths: Lengths = None
) -> Float[Array, ""]:
    """The mean square of the outputs ("AR"), which keeps activations small.

        1/(N Y) sum_tby |ys_tby|^2

    Args:
        ys: `(T, B, y)`, the outputs of a layer, after dropout in the paper.
        lengths: `(B,)` integers from 0 to T; None if all steps are valid.

    Returns:
        The penalty; 0 if all sequences are empty.

    Raises:
        TypeError, ValueError: if `ys` or the lengths are invalid.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn import training
        >>> ys = jnp.array([[[1.0]], [[3.0]], [[jnp.nan]]])
        >>> float(training.activation_regularization(ys, jnp.array([2])))
        5.0

    Reference: Merity, McCann, Socher 2017, arXiv:1708.01009; the mean is from their code.
    """
    ys, valid = _checked("activation_regularization", ys, lengths)
    return masked_mean(jnp.mean(_square(ys), axis=-1), valid)


def temporal_activation_regularization(
    ys: Inexact[AnyArray, "..."], lengths: Lengths = None
) -> Float[Array, ""]:
    """The mean square of the change of the outputs ("TAR"), which keeps them slow.

        1/(N Y) sum_tby |ys_{t+1,b,y} - ys_{t,b,y}|^2,    N pairs of valid steps

    Args:
        ys: `(T, B, y)`, the outputs of a layer, before dropout in the paper.
        lengths: `(B,)` integers from 0 to T; None if all steps are valid.

    Returns:
        The penalty; 0 if no sequence has two steps.

    Raises:
        TypeError, ValueError: if `ys` or the lengths are invalid.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn import training
        >>> ys = jnp.array([[[1.0]], [[3.0]], [[jnp.nan]]])
        >>> float(training.temporal_activation_regularization(ys, jnp.array([2])))
        4.0

    Reference: Merity, McCann, Socher 2017, arXiv:1708.01009; the mean is from their code.
    """
    ys, valid = _checked("temporal_activation_regularization", ys, lengths)
    return masked_mean(jnp.mean(_square(ys[1:] - ys[:-1]), axis=-1), valid[1:])


def norm_stabilizer(
    ys: Inexact[AnyArray, "..."], lengths: Lengths = None
) -> Float[Array, ""]:
    """The mean squared change of the norm of the outputs from step to step.

        1/N sum_tb (|ys_{t+1,b}| - |ys_{t,b}|)^2,    N pairs of valid steps

    The outputs may turn freely, while their norm stays. The gradient of the norm at 0 is
    taken as 0.

    Args:
        ys: `(T, B, y)`, the outputs or hidden states.
        lengths: `(B,)` integers from 0 to T; None if all steps are valid.

    Returns:
        The penalty; 0 if no sequence has two steps.

    Raises:
        TypeError, ValueError: if `ys` or the lengths are invalid.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn import training
        >>> ys = jnp.array([[[3.0, 4.0]], [[0.0, 7.0]]])
        >>> float(training.norm_stabilizer(ys))
        4.0

    Reference: Krueger & Memisevic 2016, arXiv:1511.08400.
    """
    ys, valid = _checked("norm_stabilizer", ys, lengths)
    square = jnp.sum(_square(ys), axis=-1)
    some = square > 0
    norms = jnp.where(some, jnp.sqrt(jnp.where(some, square, 1)), 0)
    return masked_mean(_square(norms[1:] - norms[:-1]), valid[1:])


def soft_orthogonality(
    u: Inexact[AnyArray, "..."], *, gates: int | None = None
) -> Float[Array, ""]:
    """The squared distance of recurrent weights from orthogonal matrices, summed over gates.

        sum over gates of |U^H U - I|^2    (Frobenius norm)

    At 0, each matrix keeps the norm of the states and of their gradients. A block that is
    wider than high is compared by its rows, U U^H, since its columns cannot be orthogonal.

    Args:
        u: `(h, g p)`, recurrent weights with the g gates side by side, such as `params.u`.
        gates: g; None for square blocks, g = columns / h, as in most cells. `ProjectedLSTM`
            needs 4.

    Returns:
        The penalty.

    Raises:
        TypeError, ValueError: if `u` is not a matrix, or does not divide into the gates.

    Example:
        >>> import jax, jaxrnn
        >>> from jaxrnn import training
        >>> params = jaxrnn.GRU(3, 4).init(jax.random.key(0))  # orthogonal at first
        >>> bool(training.soft_orthogonality(params.u) < 1e-9)
        True
        >>> round(float(training.soft_orthogonality(2 * params.u)))  # 3 gates, 4 units
        108

    Reference: Vorontsov, Trabelsi, Kadoury, Pal 2017, arXiv:1702.00071.
    """
    u = jnp.asarray(as_array(u, "u", "give recurrent weights, such as params.u"))
    if u.ndim != 2 or 0 in u.shape:
        raise ValueError(
            f"soft_orthogonality: u has the shape {u.shape}; give a matrix (h, gates p)."
        )
    rows, columns = u.shape
    count = columns // rows if gates is None else gates
    square = gates is not None or columns % rows == 0
    if not square or count < 1 or columns % count:
        raise ValueError(
            f"soft_orthogonality: u has the shape {u.shape}, which does not divide into "
            f"gates={gates}: give the number of gates."
        )
    blocks = u.astype(state_dtype(u)).reshape(rows, count, columns // count)
    blocks = jnp.moveaxis(blocks, 1, 0)
    if columns // count > rows:
        blocks = jnp.conj(jnp.swapaxes(blocks, 1, 2))
    gram = jnp.conj(jnp.swapaxes(blocks, 1, 2)) @ blocks
    return jnp.sum(_square(gram - jnp.eye(gram.shape[-1], dtype=gram.dtype)[None]))


def _square(x: Array) -> Array:
    return (x * jnp.conj(x)).real


def _checked(owner: str, ys: AnyArray, lengths: Lengths) -> tuple[Array, Array]:
    """`ys` in float32 at least, with zeros in the padding, and the valid steps."""
    ys = jnp.asarray(as_array(ys, "ys", "give an array (T, B, features)"))
    if ys.ndim != 3:
        raise ValueError(
            f"{owner}: ys has the shape {ys.shape}; give outputs (T, B, features)."
        )
    ys = ys.astype(state_dtype(ys))
    time, batch, _ = ys.shape
    if lengths is None:
        return ys, jnp.ones((time, batch), bool)
    valid = _valid_steps(check_lengths(lengths, time, batch, "ys"), time)
    return jnp.where(valid[..., None], ys, jnp.zeros_like(ys)), valid
