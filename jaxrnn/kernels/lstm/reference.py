"""The step of the LSTM, with and without coupled gates."""

import jax.numpy as jnp
from jax.nn import sigmoid


def step(z, state, u, b_n):
    """Gates i, f, g, o side by side in z and U.

    c' = sigmoid(f) c + sigmoid(i) tanh(g),    h' = sigmoid(o) tanh(c')
    """
    del b_n
    h, c = state
    i, f, g, o = jnp.split(z + h @ u, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def coupled_step(z, state, u, b_n):
    """Gates i, g, o; sigmoid(f) = 1 - sigmoid(i) = sigmoid(-i)."""
    del b_n
    h, c = state
    i, g, o = jnp.split(z + h @ u, 3, axis=-1)
    c = sigmoid(-i) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c
