"""Minimal gated unit. Zhou, Wu, Zhang, Zhou 2016, arXiv:1603.09420."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.nn import sigmoid
from jaxtyping import Array, Float

from .._arrays import add_bias
from .._layer import Cell
from ..initializers import ForgetBias, Glorot, Orthogonal
from ._common import check_dense, dense_gates


class MGUParams(NamedTuple):
    """Parameters of `MGU`: gates f, n."""

    w: Float[Array, "x g"]
    u: Float[Array, "h g"]
    b: Float[Array, "g"] | None


@dataclass(frozen=True)
class MGU(Cell[MGUParams, Float[Array, "h"]]):
    """Minimal gated unit: a GRU with one gate.

        f = sigmoid(W_f x + U_f h + b_f)
        n = tanh(W_n x + U_n (f h) + b_n)
        h' = (1 - f) h + f n

    The surprise: the paper calls f the forget gate, but a large f writes. Its role is
    therefore "input", so that `jaxrnn.initializers.Chrono` gives it the negative bias.

    The authors' code was not compared; the equations are the paper's. The state has the
    dtype of the parameters (see `LSTM`).

    Args:
        input_size: features of x.
        hidden_size: units of h, the state and the output.
        w_init, u_init, b_init: initializers of W, U and b.
        use_bias: False for a cell without b.

    Raises:
        TypeError: if a size is not an integer, or if an initializer is not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.MGU(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 4)

    Reference: Zhou et al. 2016, arXiv:1603.09420.
    """

    input_size: int
    hidden_size: int
    w_init: Any = Glorot()
    u_init: Any = Orthogonal()
    b_init: Any = ForgetBias(0.0)
    use_bias: bool = True

    def __post_init__(self):
        check_dense(self)

    def init(self, key):
        return MGUParams(*dense_gates(self, key, "input", "candidate"))

    def initial_state(self, params):
        return jnp.zeros(self.hidden_size, params.w.dtype)

    def project(self, params, x):
        return add_bias(x @ params.w, params.b)

    def recur(self, params, state, z):
        z_f, z_n = jnp.split(z, 2)
        u_f, u_n = jnp.split(params.u, 2, axis=1)
        f = sigmoid(z_f + state @ u_f)
        n = jnp.tanh(z_n + (f * state) @ u_n)
        return (1 - f) * state + f * n
