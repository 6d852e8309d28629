"""The singular values of the Jacobian of each step, and of their products by time lag."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._graded_svd import orthogonalized
from ._legend import legend_below


def jacobian_singular_values(
    jacobians: Float[Array, "T B k k"],
) -> Float[Array, "T B k"]:
    """The singular values of the Jacobian of each step.

        sigma_1 >= ... >= sigma_k,    J_t = U diag(sigma) V^T

    sigma_1 is the norm |J_t|, the most that one step can stretch a change of its state. If it
    is below 1 at every step, the gradient vanishes.

    Args:
        jacobians: the result of `step_jacobians`.

    Returns:
        `(T, B, k)`, in descending order.

    Raises:
        ValueError: if the shape is not `(T, B, k, k)`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> from jaxrnn import diagnostics
        >>> cell = jaxrnn.Elman(3, 4, u_init=jaxrnn.initializers.Orthogonal(0.5))
        >>> params, xs = cell.init(jax.random.key(0)), jnp.zeros((5, 2, 3))
        >>> jacobians = diagnostics.step_jacobians(cell, params, xs)
        >>> print(diagnostics.jacobian_singular_values(jacobians)[0, 0].round(3))
        [0.5 0.5 0.5 0.5]

    Reference: Pascanu, Mikolov, Bengio 2013, arXiv:1211.5063.
    """
    return jnp.linalg.svd(_checked(jacobians), compute_uv=False)


def product_singular_values(
    jacobians: Float[Array, "T B k k"],
) -> Float[Array, "T B k"]:
    """The logarithms of the singular values of the Jacobian over each time lag.

        log sigma_i(d s_T / d s_{T-lag}),    d s_T / d s_{T-lag} = J_T J_{T-1} ... J_{T-lag+1}

    The surprise: these are natural logarithms. A product of many Jacobians overflows,
    underflows, and soon has singular values that differ by more than the precision of floats.
    Therefore the product is never formed: its SVD is updated from step to step, with the
    logarithms of the singular values.

    Args:
        jacobians: the result of `step_jacobians`.

    Returns:
        `(T, B, k)`: `[lag - 1, b]` has the k logarithms for that lag in descending order,
        -inf for a singular value of 0.

    Raises:
        ValueError: if the shape is not `(T, B, k, k)`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> from jaxrnn import diagnostics
        >>> halves = jnp.tile(0.5 * jnp.eye(2), (1000, 1, 1, 1))
        >>> logs = diagnostics.product_singular_values(halves)
        >>> print((logs[-1, 0] / 1000).round(3))  # log 0.5; 0.5^1000 is 0 in float32
        [-0.693 -0.693]

    Reference: Pennington, Schoenholz, Ganguli 2017, arXiv:1711.04735; one-sided Jacobi:
    Demmel & Veselic 1992, doi:10.1137/0613074.
    """

    def one(matrices: Array) -> Array:
        k = matrices.shape[-1]
        start = jnp.eye(k, dtype=matrices.dtype), jnp.zeros(k, matrices.dtype)

        def longer(svd: Any, jacobian: Array) -> tuple[Any, Array]:
            # (P J)^T = (J^T U) S V^T for P^T = U S V^T; the rows of `left` are U's columns
            left, logs = svd
            left, logs = orthogonalized(left @ jacobian, logs)
            return (left, logs), logs

        return jax.lax.scan(longer, start, matrices, reverse=True)[1][::-1]

    return jax.vmap(one, in_axes=1, out_axes=1)(_checked(jacobians))


def _checked(jacobians: Any) -> Array:
    given = jnp.asarray(jacobians)
    if given.ndim != 4 or given.shape[2] != given.shape[3] or 0 in given.shape:
        raise ValueError(
            f"jacobians have the shape {given.shape}: give (T, B, k, k), all of at least 1, "
            "as step_jacobians returns them."
        )
    return given


def plot_jacobian_singular_values(
    ax: Any, values: Float[Array | np.ndarray, "T B k"]
) -> None:
    """Draws the largest, the median and the smallest singular value over time.

    Each is averaged over the batch as a logarithm.

    Args:
        ax: the matplotlib axis.
        values: the result of `jacobian_singular_values`.
    """
    with np.errstate(divide="ignore"):
        _plot_quantiles(ax, np.log10(np.asarray(values)))
    ax.axhline(0, color="grey", linewidth=0.8)
    ax.set_xlabel("time step")
    ax.set_ylabel("log10 of the singular value")
    ax.set_title("singular values of the step Jacobians")


def plot_product_singular_values(
    ax: Any, logs: Float[Array | np.ndarray, "T B k"]
) -> None:
    """Draws the largest, the median and the smallest singular value by time lag.

    Each is averaged over the batch as a logarithm.

    Args:
        ax: the matplotlib axis.
        logs: the result of `product_singular_values`.
    """
    _plot_quantiles(ax, np.asarray(logs) / np.log(10))
    ax.axhline(0, color="grey", linewidth=0.8)
    ax.set_xlabel("time lag (steps)")
    ax.set_ylabel("log10 of the singular value")
    ax.set_title("singular values over a time lag")


def _plot_quantiles(ax: Any, logs: np.ndarray) -> None:
    """Lines of the largest, the median and the smallest of the last axis."""
    steps, k = np.arange(1, len(logs) + 1), logs.shape[-1]
    marker = "." if len(logs) < 3 else None
    names = {
        k - 1: "smallest",
        k // 2: "median",
        0: "largest",
    }  # all the same if k is 1
    for i, name in reversed(names.items()):
        mean = logs[..., i].mean(axis=1)
        ax.plot(
            steps, np.where(np.isfinite(mean), mean, np.nan), marker=marker, label=name
        )
    legend_below(ax)
