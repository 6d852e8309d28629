"""Two directions over the same sequence. Schuster & Paliwal 1997."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._layer import Layer
from .._validate import check_callable, check_kind


class Directions(NamedTuple):
    """A pair for the two directions: their params or their states."""

    forward: Any
    backward: Any


def concatenate(forward: Any, backward: Any) -> Any:
    """The two outputs, concatenated along their features."""
    return jnp.concatenate([forward, backward], axis=-1)


@dataclass(frozen=True)
class Bidirectional(Layer):
    """Two layers over the same sequence, one of them backwards in time.

        ys[t] = merge(forward(xs[0..t]), backward(xs[T-1..t]))

    Each sequence is reversed within its own length. A reset cuts a sequence for both
    directions: documents packed into one sequence do not see each other. The returned
    backward state is the one after the first step, where that direction ends. There is no
    `step`, because the backward direction needs the whole sequence.

    Args:
        forward: the layer that reads from the start.
        backward: the layer that reads from the end; None for a layer equal to `forward`,
            with its own parameters.
        merge: the function `merge(forward, backward)` of the two outputs. The default
            concatenates their features; `jnp.add` adds them.

    Raises:
        TypeError: if a direction is not a layer, or if `merge` is not callable.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> model = jaxrnn.Bidirectional(jaxrnn.GRU(3, 4))
        >>> params = model.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(model, params, jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 8)

    Reference: Schuster & Paliwal 1997, doi:10.1109/78.650093.
    """

    forward: Layer
    backward: Layer | None = None
    merge: Callable[[Any, Any], Any] = concatenate

    def __post_init__(self):
        hint = "give a layer, such as jaxrnn.LSTM(8, 64)."
        check_kind(self, "forward", self.forward, Layer, hint)
        check_kind(self, "backward", self.backward, (Layer, type(None)), hint)
        check_callable(
            self, "merge", "give a function of two outputs, such as jnp.add."
        )

    @property
    def _layers(self):
        return self.forward, self.backward or self.forward

    @property
    def input_size(self):
        """The number of input features; None if the forward layer does not define it."""
        return getattr(self.forward, "input_size", None)

    def init(self, key):
        keys = jax.random.split(key)
        return Directions(
            *(layer.init(key) for layer, key in zip(self._layers, keys, strict=True))
        )

    def initial_state(self, params):
        forward, backward = self._layers
        return Directions(
            forward.initial_state(params.forward),
            backward.initial_state(params.backward),
        )

    def reset_state(self, params, state):
        if not isinstance(state, Directions):
            return self.initial_state(params)
        each = zip(self._layers, params, state, strict=True)
        return Directions(*(layer.reset_state(p, s) for layer, p, s in each))

    def step(self, params, state, x):
        raise NotImplementedError(
            f"{self} cannot take single steps: its backward direction starts at the end "
            "of the sequence. Give jaxrnn.unroll the whole sequence, or stream with the "
            "forward layer alone."
        )

    def unroll(self, params, state, xs, context):
        keys = (None, None) if context.key is None else jax.random.split(context.key)
        both = zip((context, context.flipped()), keys, strict=True)
        contexts = [c._replace(key=key) for c, key in both]
        run = self._one_by_one
        if context.strategy.joined(self._layers) > 1:
            run = partial(context.strategy.unroll_side_by_side, self.forward)
        state, (ys, flipped) = run(params, state, (xs, flip(xs)), contexts)
        return Directions(*state), jax.tree.map(self.merge, ys, flip(flipped))

    def _one_by_one(self, params, state, xs, contexts):
        """Runs one direction after the other."""
        each = zip(self._layers, params, state, xs, contexts, strict=True)
        return zip(*(layer.unroll(*given) for layer, *given in each), strict=True)


def flip(xs: Any) -> Any:
    """The sequence in reversed time order."""
    return jax.tree.map(lambda x: x[::-1], xs)
