"""LSTM with peephole connections. Gers, Schraudolph, Schmidhuber 2002."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.nn import sigmoid
from jaxtyping import Array, Float

from .._arrays import add_bias
from .._layer import Cell
from ..initializers import ForgetBias, Glorot, Orthogonal
from ._common import check_dense, dense_gates
from ._lstm import LSTMState


class PeepholeLSTMParams(NamedTuple):
    """Parameters of `PeepholeLSTM`: gates i, f, g, o; peepholes of i, f and o."""

    w: Float[Array, "x g"]
    u: Float[Array, "h g"]
    b: Float[Array, "g"] | None
    p_i: Float[Array, "h"]
    p_f: Float[Array, "h"]
    p_o: Float[Array, "h"]


@dataclass(frozen=True)
class PeepholeLSTM(Cell[PeepholeLSTMParams, LSTMState]):
    """LSTM whose gates also see the memory c.

        i, f, g, o = split(W x + U h + b)
        c' = sigmoid(f + p_f c) c + sigmoid(i + p_i c) tanh(g)
        h' = sigmoid(o + p_o c') tanh(c')

    The peepholes are element-wise and start at zero; the output gate sees the new memory.

    The authors' code was not compared; the equations are the paper's. The state has the
    dtype of the parameters (see `LSTM`).

    Args:
        input_size: features of x.
        hidden_size: units of h, the output, and of c.
        w_init, u_init, b_init: initializers of W, U and b.
        use_bias: False for a cell without b.

    Raises:
        TypeError: if a size is not an integer, or if an initializer is not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.PeepholeLSTM(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 4)

    Reference: Gers, Schraudolph, Schmidhuber, "Learning precise timing with LSTM recurrent
    networks", JMLR 3 (2002) 115-143.
    """

    input_size: int
    hidden_size: int
    w_init: Any = Glorot()
    u_init: Any = Orthogonal()
    b_init: Any = ForgetBias()
    use_bias: bool = True

    def __post_init__(self):
        check_dense(self)

    def init(self, key):
        w, u, b = dense_gates(self, key, "input", "forget", "candidate", "output")
        p_i, p_f, p_o = (jnp.zeros(self.hidden_size, w.dtype) for _ in range(3))
        return PeepholeLSTMParams(w, u, b, p_i, p_f, p_o)

    def initial_state(self, params):
        h, dtype = self.hidden_size, params.w.dtype
        return LSTMState(jnp.zeros(h, dtype), jnp.zeros(h, dtype))

    def project(self, params, x):
        return add_bias(x @ params.w, params.b)

    def recur(self, params, state, z):
        i, f, g, o = jnp.split(z + state.h @ params.u, 4)
        kept = sigmoid(f + params.p_f * state.c) * state.c
        c = kept + sigmoid(i + params.p_i * state.c) * jnp.tanh(g)
        return LSTMState(sigmoid(o + params.p_o * c) * jnp.tanh(c), c)

    def readout(self, params, state, z):
        return state.h
