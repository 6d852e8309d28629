"""The step of the independently recurrent network: u is a vector."""

import jax
import jax.numpy as jnp


def tanh_step(z, state, u, b_n):
    """h' = tanh(z + u h)."""
    del b_n
    (h,) = state
    return (jnp.tanh(z + u[None] * h),)


def relu_step(z, state, u, b_n):
    """h' = max(z + u h, 0)."""
    del b_n
    (h,) = state
    return (jax.nn.relu(z + u[None] * h),)
