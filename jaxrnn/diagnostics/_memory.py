"""The effective memory: how many steps back the gradient reaches on average."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def effective_memory(norms: Float[Array | np.ndarray, "T"]) -> Float[Array, ""]:
    """The mean time lag of the gradient, weighted by its norm.

        memory = sum_k k n_k / sum_k n_k,    k = 1 ... T

    n_k is the gradient's norm k steps back. For n_k = a^k, as in h' = a h + x, the memory is
    1 / (1 - a) steps, the time scale of a leaky unit or of a forget gate a. The surprise: it
    is bounded by T. If it is above T / 2, the norm does not fall within the sequence,
    and a longer one will give a larger value.

    This is the mean lag of a distributed-lag model, with gradient norms as weights.

    Args:
        norms: the result of `gradient_norm_by_lag`.

    Returns:
        A scalar from 1 to T, in steps; 0 if no gradient reaches an earlier state, and NaN if
        a norm is not finite.

    Raises:
        ValueError: if the shape is not `(T,)`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxrnn import diagnostics
        >>> float(diagnostics.effective_memory(0.75 ** jnp.arange(1, 101)).round(3))
        4.0

    Reference: Koyck 1954, Distributed Lags and Investment Analysis; for gates: Tallec &
    Ollivier 2018, arXiv:1804.11188.
    """
    shares = _shares(norms)
    lags = jnp.arange(1, len(shares) + 1).astype(shares.dtype)
    return jnp.sum(lags * shares)


def _shares(norms: Any) -> Float[Array, "T"]:
    """The norms divided by their sum."""
    norms = jnp.asarray(norms)
    if norms.ndim != 1 or not len(norms):
        raise ValueError(
            f"norms have the shape {norms.shape}: give (T,), one for each lag, as "
            "gradient_norm_by_lag returns them."
        )
    # n / sum n without the sum, which overflows for exploding norms
    shares = jax.nn.softmax(jnp.log(norms))
    return jnp.where(jnp.max(norms) == 0, jnp.zeros_like(shares), shares)


def plot_effective_memory(ax: Any, norms: Float[Array | np.ndarray, "T"]) -> None:
    """Draws the share of the gradient within each lag, and the effective memory.

    Args:
        ax: the matplotlib axis.
        norms: the result of `gradient_norm_by_lag`.
    """
    memory, shares = float(effective_memory(norms)), np.asarray(_shares(norms))
    lags = np.arange(1, len(shares) + 1)
    ax.plot(lags, np.cumsum(shares), marker="." if len(lags) < 3 else None)
    if np.isfinite(memory):
        steps = f"mean lag: {memory:.1f} steps"
        ax.axvline(memory, color="C1", linestyle="--", label=steps)
        ax.legend(loc="lower right")
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("time lag (steps)")
    ax.set_ylabel("share of the gradient up to this lag")
    ax.set_title("effective memory")
