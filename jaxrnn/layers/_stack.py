"""Layers one above the other."""

from dataclasses import dataclass

import jax

from .._layer import Layer
from .._sizes import check_kind


@dataclass(frozen=True)
class Stack(Layer):
    """Layers one above the other: each reads what the one below puts out.

        y^0 = x,    s^l, y^l = layer_l(s^l, y^{l-1})

    Params and state are tuples, one entry a layer. `step` takes one step through all
    layers; `unroll` runs them one after the other over all time.

    Args:
        layers: a tuple of layers, the lowest first.

    Raises:
        TypeError, ValueError: for anything but a tuple of at least one layer.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> model = jaxrnn.Stack((jaxrnn.LSTM(3, 4), jaxrnn.Dense(4, 2)))
        >>> params = model.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(model, params, jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 2)
    """

    layers: tuple[Layer, ...]

    def __post_init__(self):
        hint = (
            "give a tuple of layers, such as (jaxrnn.LSTM(8, 64), jaxrnn.GRU(64, 64))."
        )
        check_kind(self, "layers", self.layers, tuple, hint)
        for layer in self.layers:
            check_kind(self, "layers", layer, Layer, hint)
        if not self.layers:
            raise ValueError(f"Stack(layers=()): no layer at all; {hint}")

    @property
    def input_size(self):
        """Features that the lowest layer takes; None if it does not say."""
        return getattr(self.layers[0], "input_size", None)

    def init(self, key):
        keys = jax.random.split(key, len(self.layers))
        return tuple(
            layer.init(key) for layer, key in zip(self.layers, keys, strict=True)
        )

    def initial_state(self, params):
        return tuple(
            layer.initial_state(p) for layer, p in zip(self.layers, params, strict=True)
        )

    def step(self, params, state, x):
        return self._fold(
            lambda layer, p, s, x, _: layer.step(p, s, x), params, state, x, None
        )

    def unroll(self, params, xs, state, context):
        def unroll(layer, p, s, xs, key):
            return layer.unroll(p, xs, s, context._replace(key=key))

        return self._fold(unroll, params, state, xs, context.key)

    def _fold(self, run, params, state, x, key):
        count = len(self.layers)
        keys = [None] * count if key is None else list(jax.random.split(key, count))
        after = []
        for i, layer in enumerate(self.layers):
            try:
                s, x = run(layer, params[i], state[i], x, keys[i])
            except Exception as error:
                error.add_note(f"in layer {i} of the stack, {layer}")
                raise
            after.append(s)
        return tuple(after), x
