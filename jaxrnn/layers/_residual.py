"""A residual connection around a layer. He, Zhang, Ren, Sun 2016, arXiv:1512.03385."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from .._layer import Layer
from .._validate import check_kind


@dataclass(frozen=True)
class Residual(Layer):
    """A layer with its input added to its output: `y = x + layer(x)`.

    Params and state are the same as the layer's. Input and output must have the same shape.

    Args:
        layer: the layer to wrap.

    Raises:
        TypeError: if `layer` is not a layer.
        ValueError: when it runs, if input and output have different numbers of features.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> model = jaxrnn.Residual(jaxrnn.GRU(4, 4))
        >>> params = model.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(model, params, jnp.ones((5, 2, 4)))
        >>> ys.shape
        (5, 2, 4)

    Reference: He et al. 2016, arXiv:1512.03385.
    """

    layer: Layer

    def __post_init__(self):
        hint = "give a layer, such as jaxrnn.GRU(64, 64)."
        check_kind(self, "layer", self.layer, Layer, hint)

    @property
    def input_size(self):
        """The number of input features; None if the layer does not define it."""
        return getattr(self.layer, "input_size", None)

    def init(self, key):
        return self.layer.init(key)

    def initial_state(self, params):
        return self.layer.initial_state(params)

    def reset_state(self, params, state):
        return self.layer.reset_state(params, state)

    def step(self, params, state, x):
        state, y = self.layer.step(params, state, x)
        return state, _add(x, y)

    def unroll(self, params, state, xs, context):
        state, ys = self.layer.unroll(params, state, xs, context)
        return state, _add(xs, ys)


def _add(x, y):
    if jnp.shape(x)[-1:] != jnp.shape(y)[-1:]:
        raise ValueError(
            f"Residual cannot add an input with features {jnp.shape(x)[-1:]} to an output "
            f"with features {jnp.shape(y)[-1:]}: give a layer whose output has as many "
            "features as its input."
        )
    return jax.tree.map(jnp.add, x, y)
