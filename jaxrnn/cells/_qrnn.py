"""Quasi-recurrent network. Bradbury, Merity, Xiong, Socher 2017, arXiv:1611.01576."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid
from jaxtyping import Array, Float

from .._arrays import add_bias, state_dtype
from .._layer import LinearCell
from .._validate import check_callable
from ..initializers import ForgetBias, Glorot
from ._common import biases, blocks, check_gates


class QRNNParams(NamedTuple):
    """Parameters of `QRNN`: candidate and gates f, o, concatenated."""

    w: Float[Array, "x g"]
    b: Float[Array, "g"] | None


@dataclass(frozen=True)
class QRNN(LinearCell[QRNNParams, Float[Array, "h"]]):
    """Quasi-recurrent network with "fo" pooling: an LSTM whose gates see only the input.

        n = activation(W_n x + b_n)
        f = sigmoid(W_f x + b_f)
        o = sigmoid(W_o x + b_o)
        c' = f c + (1 - f) n
        h' = o c'

    The paper's W is a convolution over the last inputs; here its width is 1. For a width
    of 2, concatenate each input with the previous one. The state c is at least float32,
    even if the parameters are bfloat16.

    Differs from the authors' code in: f keeps, as in the paper, while theirs writes; no
    window of 2, no f-pooling without an output gate, no zoneout of f.

    Args:
        input_size: features of x.
        hidden_size: units of c, the state, and of h, the output.
        activation: tanh, as in the paper, or another element-wise function.
        w_init, b_init: initializers of W and b; the gates' roles are "candidate",
            "forget" and "output". All biases start at zero by default.
        use_bias: False for a cell without b.

    Raises:
        TypeError: if a size is not an integer, or if an activation or an initializer is
            not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.QRNN(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, state.shape
        ((5, 2, 4), (2, 4))

    Reference: Bradbury et al. 2017, arXiv:1611.01576.
    """

    input_size: int
    hidden_size: int
    activation: Callable[[Array], Array] = jnp.tanh
    w_init: Any = Glorot()
    b_init: Any = ForgetBias(0.0)
    use_bias: bool = True

    def __post_init__(self):
        check_gates(self)
        check_callable(self, "activation", "give a function, such as jax.numpy.tanh.")

    def init(self, key):
        k_w, k_b = jax.random.split(key)
        shape = (self.input_size, self.hidden_size)
        roles = ("candidate", "forget", "output")
        return QRNNParams(
            w=blocks(self.w_init, k_w, shape, 3),
            b=biases(self, k_b, *roles),
        )

    def initial_state(self, params):
        return jnp.zeros(self.hidden_size, state_dtype(params))

    def project(self, params, x):
        return add_bias(x @ params.w, params.b)

    def coefficients(self, params, z):
        z_n, z_f, _ = jnp.split(z.astype(state_dtype(params)), 3)
        return sigmoid(z_f), sigmoid(-z_f) * self.activation(z_n)

    def readout(self, params, state, z):
        return sigmoid(z[2 * self.hidden_size :]) * state.astype(z.dtype)
