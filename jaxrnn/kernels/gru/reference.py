"""The step of the GRU, with the reset gate after or before the product."""

import jax.numpy as jnp
from jax.nn import sigmoid


def after_step(z, state, u, b_n):
    """Gates r, z, n side by side in z and U.

    n = tanh(z_n + r (h U_n + b_n)),    h' = (1 - z) n + z h
    """
    (h,) = state
    z_r, z_z, z_n = jnp.split(z, 3, axis=-1)
    h_r, h_z, h_n = jnp.split(h @ u, 3, axis=-1)
    r, keep = sigmoid(z_r + h_r), sigmoid(z_z + h_z)
    n = jnp.tanh(z_n + r * (h_n + b_n[None]))
    return ((1 - keep) * n + keep * h,)


def before_step(z, state, u, b_n):
    """n = tanh(z_n + (r h) U_n),    h' = (1 - z) n + z h."""
    del b_n
    (h,) = state
    size = h.shape[-1]
    gates = sigmoid(z[:, : 2 * size] + h @ u[:, : 2 * size])
    r, keep = jnp.split(gates, 2, axis=-1)
    n = jnp.tanh(z[:, 2 * size :] + (r * h) @ u[:, 2 * size :])
    return ((1 - keep) * n + keep * h,)
