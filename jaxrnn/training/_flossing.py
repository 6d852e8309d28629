"""Gradient flossing: Lyapunov exponents near zero, so that gradients survive."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._layer import Layer
from .._typing import Sequence
from ..diagnostics import lyapunov_spectrum


def gradient_flossing(
    layer: Layer,
    params: Any,
    xs: Sequence,
    count: int = 1,
    *,
    state: Any = None,
    every: int = 1,
    discard: int = 0,
) -> Float[Array, ""]:
    """A penalty that moves the first Lyapunov exponents of a layer toward zero.

        penalty = sum_i lambda_i^2,    i = 1 ... count

    Exponents below zero make gradients vanish, and exponents above zero make them explode.
    Add the penalty to the loss, or minimize it alone for some hundred updates before
    training. Its gradient is exact, by backpropagation through the QR decompositions of
    `jaxrnn.diagnostics.lyapunov_spectrum`. The surprise: the exponents are averaged over the
    batch before they are squared. The gradient is NaN if a Jacobian is so singular that one of
    these exponents is -inf.

    Args:
        layer: a layer that can take single steps.
        params: its parameters, which the penalty is differentiated by.
        xs: `(T, B, features)`.
        count: the number of exponents, from 1 to the size of the state.
        state: the state to start from, leaves `(B, ...)`; None for the initial state.
        every: steps between two QRs.
        discard: the first steps, which do not count.

    Returns:
        A scalar, in squared nats per step squared.

    Raises:
        TypeError, ValueError: if an argument is invalid.
        NotImplementedError: if the layer has no state, or cannot take single steps.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> from jaxrnn import training
        >>> cell = jaxrnn.Elman(1, 4, u_init=jaxrnn.initializers.Orthogonal(0.5))
        >>> params, xs = cell.init(jax.random.key(0)), jnp.zeros((50, 2, 1))
        >>> print(f"{training.gradient_flossing(cell, params, xs):.4f}")  # (log 0.5)^2
        0.4805

    Reference: Engelken 2023, arXiv:2312.17306.
    """
    exponents, _ = lyapunov_spectrum(
        layer, params, xs, state=state, count=count, every=every, discard=discard
    )
    return jnp.sum(exponents**2)
