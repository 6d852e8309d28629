"""A stack of layers."""

import contextlib
from dataclasses import dataclass

import jax

from .._layer import Layer
from .._validate import check_kind


@dataclass(frozen=True)
class Stack(Layer):
    """A stack of layers: each reads the output of the layer below.

        y^0 = x,    s^l, y^l = layer_l(s^l, y^{l-1})

    Params and state are tuples with one entry per layer. `step` takes one step through all
    layers; `unroll` runs one layer after the other over all time steps.

    Args:
        layers: a tuple of layers, the lowest first.

    Raises:
        TypeError: if `layers` is not a tuple of layers.
        ValueError: if the tuple is empty.

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
            raise ValueError(f"{name}(layers=()): at least one layer is needed; {hint}")

    @property
    def input_size(self):
        """The input features of the lowest layer; None if it does not define them."""
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

    def reset_state(self, params, state):
        # `unroll` compares the structures of the result and of the state that it is given
        if not isinstance(state, tuple) or len(state) != len(self.layers):
            return self.initial_state(params)
        after = []
        for i, layer in enumerate(self.layers):
            with self._note_layer(i):
                after.append(layer.reset_state(params[i], state[i]))
        return tuple(after)

    def step(self, params, state, x):
        after = []
        for i, layer in enumerate(self.layers):
            with self._note_layer(i):
                s, x = layer.step(params[i], state[i], x)
            after.append(s)
        return tuple(after), x

    def unroll(self, params, state, xs, context):
        strategy, count = context.strategy, len(self.layers)
        key = context.key
        keys = [None] * count if key is None else jax.random.split(key, count)
        after: tuple = ()
        while (i := len(after)) < count:
            # a strategy may run several equal layers in one loop
            layer, end = self.layers[i], i + strategy.joined(self.layers[i:])
            with self._note_layer(i):
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
    def _note_layer(self, i):
        """Adds a note to errors that says in which layer they occurred."""
        try:
            yield
        except Exception as error:
            error.add_note(f"in layer {i} of the stack, {self.layers[i]}")
            raise
