"""The step of the simple recurrent network."""

import jax
import jax.numpy as jnp


def tanh_step(z, state, u, b_n):
    """h' = tanh(z + h U)."""
    del b_n
    (h,) = state
    return (jnp.tanh(z + h @ u),)


def relu_step(z, state, u, b_n):
    """h' = max(z + h U, 0)."""
    del b_n
    (h,) = state
    return (jax.nn.relu(z + h @ u),)
