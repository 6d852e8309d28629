"""LSTM with a projected output. Sak, Senior, Beaufays 2014, arXiv:1402.1128."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid
from jaxtyping import Array, Float

from .._arrays import add_bias
from .._layer import Cell
from ..initializers import ForgetBias, Glorot, Orthogonal
from ._common import biases, blocks, check_dense
from ._lstm import LSTMState


class ProjectedLSTMParams(NamedTuple):
    """Parameters of `ProjectedLSTM`: gates i, f, g, o, and the projection."""

    w: Float[Array, "x g"]
    u: Float[Array, "p g"]
    b: Float[Array, "g"] | None
    w_p: Float[Array, "h p"]


@dataclass(frozen=True)
class ProjectedLSTM(Cell[ProjectedLSTMParams, LSTMState]):
    """LSTM with a linear output projection; the projected output is fed back.

        i, f, g, o = split(W x + U h + b)
        c' = sigmoid(f) c + sigmoid(i) tanh(g)
        h' = W_p (sigmoid(o) tanh(c'))

    As in PyTorch's `proj_size`, without the paper's peepholes and second output.

    No authors' code is known. Agrees with PyTorch's `nn.LSTM(proj_size=)` except for the
    initial parameters. The state has the dtype of the parameters (see `LSTM`).

    Args:
        input_size: features of x.
        hidden_size: units of c.
        projection_size: units of h, the output; usually fewer.
        w_init, u_init, b_init: initializers of W and W_p, of U, and of b.
        use_bias: False for a cell without b.

    Raises:
        TypeError: if a size is not an integer, or if an initializer is not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.ProjectedLSTM(3, 8, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, state.c.shape
        ((5, 2, 4), (2, 8))

    Reference: Sak, Senior, Beaufays 2014, arXiv:1402.1128.
    """

    input_size: int
    hidden_size: int
    projection_size: int
    w_init: Any = Glorot()
    u_init: Any = Orthogonal()
    b_init: Any = ForgetBias()
    use_bias: bool = True

    def __post_init__(self):
        check_dense(self, "projection_size")

    def init(self, key):
        x, h, p = self.input_size, self.hidden_size, self.projection_size
        k_w, k_u, k_b, k_p = jax.random.split(key, 4)
        gates = ("input", "forget", "candidate", "output")
        return ProjectedLSTMParams(
            w=blocks(self.w_init, k_w, (x, h), 4),
            u=blocks(self.u_init, k_u, (p, h), 4),
            b=biases(self, k_b, *gates),
            w_p=blocks(self.w_init, k_p, (p, h), 1).T,  # hidden units last, as in W
        )

    def initial_state(self, params):
        h = jnp.zeros(self.projection_size, params.w.dtype)
        return LSTMState(h, jnp.zeros(self.hidden_size, params.w.dtype))

    def project(self, params, x):
        return add_bias(x @ params.w, params.b)

    def recur(self, params, state, z):
        i, f, g, o = jnp.split(z + state.h @ params.u, 4)
        c = sigmoid(f) * state.c + sigmoid(i) * jnp.tanh(g)
        return LSTMState((sigmoid(o) * jnp.tanh(c)) @ params.w_p, c)

    def readout(self, params, state, z):
        return state.h
