"""Base class of layers without memory, which apply the same map at every step."""

import abc
from typing import Any, final

from .._layer import Layer, over_time_and_batch


class Stepwise(Layer):
    """A layer without memory: `y = apply(params, x)` at every step. Its state is `()`."""

    @abc.abstractmethod
    def apply(self, params: Any, x: Any) -> Any:
        """The output for one example at one step."""

    @final
    def initial_state(self, params):
        return ()

    @final
    def step(self, params, state, x):
        return state, self.apply(params, x)

    @final
    def unroll(self, params, state, xs, context):
        return state, over_time_and_batch(self.apply, params, xs)
