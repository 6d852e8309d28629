"""The LSTM with an element-wise recurrence. Danieli et al. 2025, arXiv:2510.21450."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid
from jaxtyping import Array, Float

from .._arrays import add_bias, float_dtype
from .._layer import Cell
from ..initializers import ForgetRange, Glorot, SmallNormal
from ._common import biases, blocks, check_vectors
from ._lstm import LSTMState


class ParaLSTMParams(NamedTuple):
    """Parameters of `ParaLSTM`: gates f, g, o; peepholes p of f and o."""

    w: Float[Array, "x g"]
    u: Float[Array, "3 h"]
    b: Float[Array, "g"] | None
    p: Float[Array, "2 h"]


@dataclass(frozen=True)
class ParaLSTM(Cell[ParaLSTMParams, LSTMState]):
    """Coupled LSTM with peepholes in which each unit sees only its own past.

        f  = sigmoid(W_f x + u_f h + p_f c + b_f)
        g  = tanh(W_g x + u_g h + b_g)
        c' = f c + (1 - f) g
        o  = sigmoid(W_o x + u_o h + p_o c' + b_o)
        h' = o tanh(c'),                         u h and p c element by element

    The Jacobian of a step is a 2 x 2 block for each unit, so `jaxrnn.Newton()` is exact
    Newton. The surprise: the forget gate's bias falls from 0 to -1 over the units, as in
    the authors' code; in `LSTM` it is 1. For long memories give
    `b_init=jaxrnn.initializers.ForgetRange(3.0, 6.0)`.

    Differs from the authors' code in: W is dense, there block-diagonal with 2 heads by
    default. u and b start as in their code. The state has the dtype of the parameters (see
    `LSTM`).

    Args:
        input_size: features of x.
        hidden_size: units of h, the output, and of c.
        w_init, u_init, b_init: initializers of W, of u and the peepholes, and of b. The
            roles of the gates are "forget", "candidate" and "output".
        use_bias: False for a cell without b.

    Raises:
        TypeError: if a size is not an integer, or if an initializer is not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.ParaLSTM(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, state.c.shape
        ((5, 2, 4), (2, 4))

    Reference: Danieli, Rodriguez, Sarabia, Suau, Zappella 2025, "ParaRNN", arXiv:2510.21450.
    Coupled gates: Greff et al. 2017, arXiv:1503.04069.
    """

    input_size: int
    hidden_size: int
    w_init: Any = Glorot()
    u_init: Any = SmallNormal()
    b_init: Any = ForgetRange(0.0, -1.0)
    use_bias: bool = True

    def __post_init__(self):
        check_vectors(self)

    def init(self, key):
        h, dtype = self.hidden_size, float_dtype()
        k_w, k_u, k_b, k_p = jax.random.split(key, 4)
        return ParaLSTMParams(
            w=blocks(self.w_init, k_w, (self.input_size, h), 3),
            u=self.u_init(k_u, (3, h), dtype),
            b=biases(self, k_b, "forget", "candidate", "output"),
            p=self.u_init(k_p, (2, h), dtype),
        )

    def initial_state(self, params):
        h, dtype = self.hidden_size, params.w.dtype
        return LSTMState(jnp.zeros(h, dtype), jnp.zeros(h, dtype))

    def project(self, params, x):
        return add_bias(x @ params.w, params.b)

    def recur(self, params, state, z):
        x_f, x_g, x_o = jnp.split(z, 3)
        (u_f, u_g, u_o), (p_f, p_o) = params.u, params.p
        f = sigmoid(x_f + u_f * state.h + p_f * state.c)
        g = jnp.tanh(x_g + u_g * state.h)
        c = f * state.c + (1 - f) * g
        o = sigmoid(x_o + u_o * state.h + p_o * c)
        return LSTMState(o * jnp.tanh(c), c)

    def readout(self, params, state, z):
        return state.h
