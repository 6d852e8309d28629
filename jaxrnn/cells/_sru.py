"""Simple recurrent unit. Lei, Zhang, Wang, Dai, Artzi 2018, arXiv:1709.02755."""

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


class SRUParams(NamedTuple):
    """Parameters of `SRU`: candidate, f, r, and a skip if x and h differ in size."""

    w: Float[Array, "x g"]
    b: Float[Array, "g"] | None


class _Projected(NamedTuple):
    gates: Float[Array, "g"]
    skip: Float[Array, "h"]


@dataclass(frozen=True)
class SRU(LinearCell[SRUParams, Float[Array, "h"]]):
    """Simple recurrent unit: a forget gate and a highway connection.

        f = sigmoid(W_f x + b_f)
        r = sigmoid(W_r x + b_r)
        c' = f c + (1 - f) W x
        h' = r activation(c') + (1 - r) x

    These are the equations of the paper's first version. In later versions the gates also
    see c (v c), which makes the recurrence non-linear. If x and h differ in size, a matrix
    projects the x of the highway. The state c is at least float32, even if the parameters
    are bfloat16.

    Differs from the authors' code in: theirs follows the later versions, with v c in the
    gates.

    Args:
        input_size: features of x.
        hidden_size: units of c, the state, and of h, the output.
        activation: tanh, as in the paper, or another element-wise function.
        w_init, b_init: initializers of W and b; the biases' roles are "forget" and
            "output" (r). Both start at zero by default.
        use_bias: False for a cell without b.

    Raises:
        TypeError: if a size is not an integer, or if an activation or an initializer is
            not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.SRU(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, state.shape
        ((5, 2, 4), (2, 4))

    Reference: Lei et al. 2017, arXiv:1709.02755v1.
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
        h = self.hidden_size
        count = 3 if self.input_size == h else 4
        return SRUParams(
            w=blocks(self.w_init, k_w, (self.input_size, h), count),
            b=biases(self, k_b, "forget", "output"),
        )

    def initial_state(self, params):
        return jnp.zeros(self.hidden_size, state_dtype(params))

    def project(self, params, x):
        h = self.hidden_size
        wx = x @ params.w
        skip = wx[3 * h :] if wx.size > 3 * h else x
        gates = jnp.concatenate([wx[:h], add_bias(wx[h : 3 * h], params.b)])
        return _Projected(gates, skip)

    def coefficients(self, params, z):
        n, z_f, _ = jnp.split(z.gates.astype(state_dtype(params)), 3)
        return sigmoid(z_f), sigmoid(-z_f) * n

    def readout(self, params, state, z):
        r = sigmoid(z.gates[2 * self.hidden_size :])
        return r * self.activation(state.astype(r.dtype)) + (1 - r) * z.skip
