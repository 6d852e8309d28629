"""Minimal gated recurrent unit. Feng, Tung, Ahmed et al. 2024, arXiv:2410.01201."""

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
from ._common import biases, blocks, check_gates, min_rnn_g


class MinGRUParams(NamedTuple):
    """Parameters of `MinGRU`: gate z and candidate, concatenated."""

    w: Float[Array, "x g"]
    b: Float[Array, "g"] | None


@dataclass(frozen=True)
class MinGRU(LinearCell[MinGRUParams, Float[Array, "h"]]):
    """Minimal GRU: its gate and its candidate see only the input.

        z = sigmoid(W_z x + b_z)
        n = activation(W_n x + b_n)
        h' = (1 - z) h + z n

    The surprise: z writes, while the z of `GRU` keeps. The default activation is the
    paper's g: x + 1/2 if x >= 0, else sigmoid(x). It keeps h positive, which allows the
    log-space form (`jaxrnn.ops.log_diag_scan`). The identity and tanh are also common. The
    state is at least float32, even if the parameters are bfloat16.

    Agrees with the authors' code, which adds an output matrix and an option to learn the
    initial state (`LearnedState`), and runs in log space.

    Args:
        input_size: features of x.
        hidden_size: units of h, the state and the output.
        activation: an element-wise function.
        w_init, b_init: initializers of W and b; the gates' roles are "input" (z) and
            "candidate".
        use_bias: False for a cell without b.

    Raises:
        TypeError: if a size is not an integer, or if an activation or an initializer is
            not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.MinGRU(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, state.shape
        ((5, 2, 4), (2, 4))

    Reference: Feng et al. 2024, arXiv:2410.01201, appendix B for g.
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
        roles = ("input", "candidate")
        return MinGRUParams(
            w=blocks(self.w_init, k_w, shape, 2),
            b=biases(self, k_b, *roles),
        )

    def initial_state(self, params):
        return jnp.zeros(self.hidden_size, state_dtype(params))

    def project(self, params, x):
        return add_bias(x @ params.w, params.b)

    def coefficients(self, params, z):
        z_z, z_n = jnp.split(z.astype(state_dtype(params)), 2)
        return sigmoid(-z_z), sigmoid(z_z) * self.activation(z_n)

    def readout(self, params, state, z):
        return state.astype(z.dtype)
