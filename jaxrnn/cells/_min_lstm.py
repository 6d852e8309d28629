"""Minimal LSTM. Feng, Tung, Ahmed et al. 2024, arXiv:2410.01201."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid, softplus
from jaxtyping import Array, Float

from .._arrays import add_bias, state_dtype
from .._layer import LinearCell
from .._validate import check_callable
from ..initializers import ForgetBias, Glorot
from ._common import biases, blocks, check_gates, min_rnn_g


class MinLSTMParams(NamedTuple):
    """Parameters of `MinLSTM`: gates f, i and candidate, concatenated."""

    w: Float[Array, "x g"]
    b: Float[Array, "g"] | None


@dataclass(frozen=True)
class MinLSTM(LinearCell[MinLSTMParams, Float[Array, "h"]]):
    """Minimal LSTM: two gates that see only the input, normalised to a sum of 1.

        f = sigmoid(W_f x + b_f),    i = sigmoid(W_i x + b_i)
        n = activation(W_n x + b_n)
        h' = f / (f + i) h + i / (f + i) n

    The normalised gates are sigmoids of the difference of log f and log i, so that two
    closed gates do not divide 0 by 0. The default activation is the paper's g: x + 1/2 if
    x >= 0, else sigmoid(x). It keeps h positive. The state is at least float32, even if the
    parameters are bfloat16.

    Agrees with the authors' code if its option `use_coeff_norm` normalises the gates; that
    code also adds an output matrix, and runs in log space.

    Args:
        input_size: features of x.
        hidden_size: units of h, the state and the output.
        activation: an element-wise function.
        w_init, b_init: initializers of W and b; the gates' roles are "forget", "input"
            and "candidate". All biases start at zero by default.
        use_bias: False for a cell without b.

    Raises:
        TypeError: if a size is not an integer, or if an activation or an initializer is
            not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.MinLSTM(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, state.shape
        ((5, 2, 4), (2, 4))

    Reference: Feng et al. 2024, arXiv:2410.01201, section 3.2 and appendix B.
    """

    input_size: int
    hidden_size: int
    activation: Callable[[Array], Array] = min_rnn_g
    w_init: Any = Glorot()
    b_init: Any = ForgetBias(0.0)
    use_bias: bool = True

    def __post_init__(self):
        check_gates(self)
        check_callable(self, "activation", "give a function, such as jax.numpy.tanh.")

    def init(self, key):
        k_w, k_b = jax.random.split(key)
        shape = (self.input_size, self.hidden_size)
        roles = ("forget", "input", "candidate")
        return MinLSTMParams(
            w=blocks(self.w_init, k_w, shape, 3),
            b=biases(self, k_b, *roles),
        )

    def initial_state(self, params):
        return jnp.zeros(self.hidden_size, state_dtype(params))

    def project(self, params, x):
        return add_bias(x @ params.w, params.b)

    def coefficients(self, params, z):
        z_f, z_i, z_n = jnp.split(z.astype(state_dtype(params)), 3)
        log_ratio = softplus(-z_i) - softplus(-z_f)  # log f - log i
        return sigmoid(log_ratio), sigmoid(-log_ratio) * self.activation(z_n)

    def readout(self, params, state, z):
        return state.astype(z.dtype)
