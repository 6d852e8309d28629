"""Layers one above the other."""

import contextlib
from dataclasses import dataclass

import jax

from .._layer import Layer
from .._validate import check_kind


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
            name = type(self).__name__
            raise ValueError(f"{name}(layers=()): no layer at all; {hint}")

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
        after = []
        for i, layer in enumerate(self.layers):
            with self._noted(i):
                s, x = layer.step(params[i], state[i], x)
            after.append(s)
        return tuple(after), x

    def unroll(self, params, state, xs, context):
        strategy, count = context.strategy, len(self.layers)
        key = context.key
        keys = [None] * count if key is None else jax.random.split(key, count)
        after: tuple = ()
        while (i := len(after)) < count:
            layer, end = self.layers[i], i + strategy.joined(self.layers[i:])
            with self._noted(i):
                if end > i + 1:
                    states, xs = strategy.unroll_stack(
                        layer, params[i:end], state[i:end], xs, context
                    )
                else:
                    here = context._replace(key=keys[i])
                    s, xs = layer.unroll(params[i], state[i], xs, here)
                    states = (s,)
            after += states
        return after, xs

    @contextlib.contextmanager
    def _noted(self, i):
        """Errors inside say which layer it was."""
        try:
            yield
        except Exception as error:
            error.add_note(f"in layer {i} of the stack, {self.layers[i]}")
            raise
