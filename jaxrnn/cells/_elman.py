"""The simple recurrent network. Elman, "Finding structure in time" (1990)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import add_bias
from .._layer import Cell
from ..initializers import ForgetBias, Glorot, Orthogonal
from ._activation import check_activations, clipped
from ._common import check_dense, dense_gates


class ElmanParams(NamedTuple):
    """Parameters of `Elman`."""

    w: Float[Array, "x h"]
    u: Float[Array, "h h"]
    b: Float[Array, "h"] | None


@dataclass(frozen=True)
class Elman(Cell[ElmanParams, Float[Array, "h"]]):
    """The simple (vanilla) recurrent network, with any activation.

        h' = activation(W x + U h + b)

    `Elman(i, h, activation=jax.nn.relu, u_init=jaxrnn.initializers.Identity())` is the IRNN.

    No authors' code is known (1990). Agrees with PyTorch's `nn.RNN`, whose two biases are
    summed into one here. The state has the dtype of the parameters.

    Args:
        input_size: features of x.
        hidden_size: units of h, the state and the output.
        activation: `jnp.tanh`, `jax.nn.relu` or another element-wise function.
        w_init, u_init, b_init: initializers of W, U and b.
        use_bias: False for a cell without b.
        clip: bounds every input of an activation to [-clip, clip], as ONNX's `clip` does;
            None for no bounds.

    Raises:
        TypeError: if a size is not an integer, if an activation or an initializer is not
            callable, or if `clip` is not a number.
        ValueError: if a size is below 1, or if `clip` is not above 0.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.Elman(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 4)

    Reference: Elman 1990, doi:10.1207/s15516709cog1402_1. IRNN: Le, Jaitly, Hinton 2015,
    arXiv:1504.00941.
    """

    input_size: int
    hidden_size: int
    activation: Callable[[Array], Array] = jnp.tanh
    w_init: Any = Glorot()
    u_init: Any = Orthogonal()
    b_init: Any = ForgetBias()
    use_bias: bool = True
    clip: float | None = None

    def __post_init__(self):
        check_dense(self)
        check_activations(self, "activation")

    def init(self, key):
        return ElmanParams(*dense_gates(self, key, "candidate"))

    def initial_state(self, params):
        return jnp.zeros(self.hidden_size, params.w.dtype)

    def project(self, params, x):
        return add_bias(x @ params.w, params.b)

    def recur(self, params, state, z):
        return clipped(self.activation, self.clip)(z + state @ params.u)
