"""An affine map at every step."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import add_bias, float_dtype
from .._validate import check_callable, check_kind, check_sizes
from ..initializers import Glorot
from ._stepwise import Stepwise


class DenseParams(NamedTuple):
    """Parameters of `Dense`."""

    w: Float[Array, "x y"]
    b: Float[Array, "y"] | None


@dataclass(frozen=True)
class Dense(Stepwise):
    """The affine map `y = W x + b` at every step.

    Args:
        input_size: features of x.
        output_size: features of y.
        w_init: initializer of W; b starts at zero.
        use_bias: False for a linear map without b.

    Raises:
        TypeError: if a size is not an integer, or if `w_init` is not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> layer = jaxrnn.Dense(3, 2)
        >>> params = layer.init(jax.random.key(0))
        >>> _, ys = jaxrnn.unroll(layer, params, jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 2)
    """

    input_size: int
    output_size: int
    w_init: Any = Glorot()
    use_bias: bool = True

    def __post_init__(self):
        check_sizes(self, "input_size", "output_size")
        hint = "give an initializer, such as jaxrnn.initializers.Glorot()."
        check_callable(self, "w_init", hint)
        check_kind(self, "use_bias", self.use_bias, bool, "give True or False.")

    def init(self, key):
        shape, dtype = (self.input_size, self.output_size), float_dtype()
        b = jnp.zeros(self.output_size, dtype) if self.use_bias else None
        return DenseParams(self.w_init(key, shape, dtype), b)

    def apply(self, params, x):
        return add_bias(x @ params.w, params.b)
