"""LSTM with layer normalisation. Ba, Kiros, Hinton 2016, arXiv:1607.06450."""

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
from ._norm import NormParams, layer_norm, norm_init


class LayerNormLSTMParams(NamedTuple):
    """Parameters of `LayerNormLSTM`: gates i, f, g, o, and three norms."""

    w: Float[Array, "x g"]
    u: Float[Array, "h g"]
    b: Float[Array, "g"] | None
    norm_x: NormParams
    norm_h: NormParams
    norm_c: NormParams


@dataclass(frozen=True)
class LayerNormLSTM(Cell[LayerNormLSTMParams, LSTMState]):
    """LSTM with layer normalisation of both matmuls and of the memory before the output.

        i, f, g, o = split(LN(W x) + LN(U h) + b)
        c' = sigmoid(f) c + sigmoid(i) tanh(g)
        h' = sigmoid(o) tanh(LN(c'))

    Each LN has its own gain and shift, and an epsilon of 1e-5. The LN of a matmul covers
    all four gates together, as in the paper.

    Differs from the authors' code in: b is added only after the norms, there also to W x
    before its norm; the forget gate's bias starts at 1, there at 0. The state has the dtype
    of the parameters (see `LSTM`); sums over units are at least float32.

    Args:
        input_size: features of x.
        hidden_size: units of h, the output, and of c.
        w_init, u_init, b_init: initializers of W, U and b.
        use_bias: False for a cell without b; the shifts of the norms stay.

    Raises:
        TypeError: if a size is not an integer, or if an initializer is not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.LayerNormLSTM(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 4)

    Reference: Ba, Kiros, Hinton 2016, arXiv:1607.06450, equations 20 to 22.
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
        h = self.hidden_size
        w, u, b = dense_gates(self, key, "input", "forget", "candidate", "output")
        norms = (norm_init(n, w.dtype) for n in (4 * h, 4 * h, h))
        return LayerNormLSTMParams(w, u, b, *norms)

    def initial_state(self, params):
        h, dtype = self.hidden_size, params.w.dtype
        return LSTMState(jnp.zeros(h, dtype), jnp.zeros(h, dtype))

    def project(self, params, x):
        return add_bias(layer_norm(params.norm_x, x @ params.w), params.b)

    def recur(self, params, state, z):
        i, f, g, o = jnp.split(z + layer_norm(params.norm_h, state.h @ params.u), 4)
        c = sigmoid(f) * state.c + sigmoid(i) * jnp.tanh(g)
        return LSTMState(sigmoid(o) * jnp.tanh(layer_norm(params.norm_c, c)), c)

    def readout(self, params, state, z):
        return state.h
