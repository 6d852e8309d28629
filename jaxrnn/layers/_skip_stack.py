"""A stack whose layers all read the input. Graves 2013, arXiv:1308.0850."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ._stack import Stack


@dataclass(frozen=True)
class SkipStack(Stack):
    """A stack of layers with skip connections from the input and to the output.

        x^1 = x,    x^l = [x, y^{l-1}],    s^l, y^l = layer_l(s^l, x^l)
        y   = [y^1, ..., y^L]

    Every layer above the lowest reads the input, concatenated with the output of the layer
    below; the output of the stack concatenates the outputs of all layers. Params and state
    are tuples with one entry per layer, as in `Stack`. Haiku's
    `deep_rnn_with_skip_connections` computes the same.

    Args:
        layers: a tuple of layers, the lowest first.

    Raises:
        TypeError: if `layers` is not a tuple of layers.
        ValueError: if the tuple is empty.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> model = jaxrnn.SkipStack((jaxrnn.GRU(3, 4), jaxrnn.LSTM(3 + 4, 5)))
        >>> params = model.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(model, params, jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 9)

    Reference: Graves 2013, "Generating sequences with recurrent neural networks",
    arXiv:1308.0850, section 2.
    """

    def step(self, params, state, x):
        def run(i, x):
            return self.layers[i].step(params[i], state[i], x)

        return self._through(x, run)

    def unroll(self, params, state, xs, context):
        key, count = context.key, len(self.layers)
        keys = [None] * count if key is None else jax.random.split(key, count)

        def run(i, xs):
            here = context._replace(key=keys[i])
            return self.layers[i].unroll(params[i], state[i], xs, here)

        return self._through(xs, run)

    def _through(self, x: Any, run: Callable) -> tuple[Any, Any]:
        """Runs all layers from the lowest up; `run(i, x) -> (state, y)` runs layer i."""
        states: list[Any] = []
        outputs: list[Any] = []
        for i in range(len(self.layers)):
            with self._note_layer(i):
                s, y = run(i, _concatenate(x, outputs[-1]) if outputs else x)
            states.append(s)
            outputs.append(y)
        return tuple(states), _concatenate(*outputs)


def _concatenate(*parts: Any) -> Any:
    """The parts, concatenated along their features."""
    if min(jnp.ndim(part) for part in parts) == 0:
        raise ValueError(
            "SkipStack concatenates features, but its input is one symbol at each step: "
            "put the embedding below it, Stack((Embedding(v, f), SkipStack(...)))"
        )
    return jnp.concatenate(parts, axis=-1)
