"""The states that a layer visits, and samples of them to start a search from."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree, Shaped

from .. import _check
from .._layer import Layer
from .._typing import Sequence


def visited_states(
    layer: Layer, params: Any, xs: Sequence, *, state: Any = None
) -> Any:
    """The state of a layer after every step, with all its parts.

        s_t, y_t = layer.step(params, s_{t-1}, x_t),    t = 1 ... T

    Args:
        layer: a layer that can take single steps.
        params: its parameters.
        xs: `(T, B, features)`.
        state: the state to start from, leaves `(B, ...)`; None for the initial state.

    Returns:
        The states, leaves `(T, B, ...)`.

    Raises:
        TypeError, ValueError: if an argument is invalid.
        NotImplementedError: if the layer cannot take single steps.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> from jaxrnn import diagnostics
        >>> cell = jaxrnn.LSTM(3, 4)
        >>> params, xs = cell.init(jax.random.key(0)), jnp.ones((5, 2, 3))
        >>> diagnostics.visited_states(cell, params, xs).c.shape
        (5, 2, 4)
    """
    given = _check.arguments(layer, params, xs, state)
    step = jax.vmap(layer.step, in_axes=(None, 0, 0))

    def body(states: Any, x: Any) -> tuple[Any, Any]:
        states, _ = step(given.params, states, x)
        return states, states

    return jax.lax.scan(body, given.state, given.xs)[1]


def sample_states(
    key: Key[Array, ""], states: Sequence, number: int, *, noise: float = 0.0
) -> PyTree[Shaped[Array, "N ..."]]:
    """Random states of trajectories, with Gaussian noise, to start a search from.

    Noise also starts searches off the attractors, which helps to find saddles.

    Args:
        key: the random key.
        states: the result of `visited_states`, leaves `(T, B, ...)`.
        number: N, the number of samples; they are drawn with replacement.
        noise: the standard deviation of the noise added to each real number of a state.

    Returns:
        The states, leaves `(N, ...)`.

    Raises:
        TypeError, ValueError: if an argument is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxrnn import diagnostics
        >>> states = jnp.ones((5, 2, 4))
        >>> diagnostics.sample_states(jax.random.key(0), states, 100).shape
        (100, 4)
    """
    key = _check.check_key(key)
    states, time, batch = _check.check_sequence(states)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"number is {number!r}: give an integer of at least 1.")
    which, *keys = jax.random.split(key, 1 + len(jax.tree.leaves(states)))
    rows = jax.random.randint(which, (number,), 0, time * batch)

    def sample(s: Array, key: Any) -> Array:
        chosen = s.reshape(time * batch, *s.shape[2:])[rows]
        if noise == 0:
            return chosen
        # a complex normal number has the variance 1 / 2 in each of its parts
        scale = noise * 2**0.5 if jnp.iscomplexobj(s) else noise
        normal = jax.random.normal(key, chosen.shape, chosen.dtype)
        return chosen + jnp.asarray(scale, chosen.dtype) * normal

    leaves, structure = jax.tree.flatten(states)
    sampled = [sample(s, k) for s, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, sampled)
