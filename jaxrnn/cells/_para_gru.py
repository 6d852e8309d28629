"""The GRU with an element-wise recurrence. Danieli et al. 2025, arXiv:2510.21450."""

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


class ParaGRUParams(NamedTuple):
    """Parameters of `ParaGRU`: gates z, r, n, blocks of w and b, and rows of u."""

    w: Float[Array, "x g"]
    u: Float[Array, "3 h"]
    b: Float[Array, "g"] | None


@dataclass(frozen=True)
class ParaGRU(Cell[ParaGRUParams, Float[Array, "h"]]):
    """GRU in which each unit sees only its own past, so that steps can run in parallel.

        z  = sigmoid(W_z x + u_z h + b_z)
        r  = sigmoid(W_r x + u_r h + b_r)
        n  = tanh(W_n x + u_n r h + b_n)
        h' = (1 - z) h + z n,               u h element by element

    The Jacobian of a step is diagonal, so `jaxrnn.Newton()` is exact Newton, at the cost of
    a few diagonal scans. The surprise: z writes, while the z of `GRU` keeps.

    Differs from the authors' code in: W is dense, there block-diagonal with 2 heads by
    default. u and b start as in their code. The state has the dtype of the parameters (see
    `LSTM`).

    Args:
        input_size: features of x.
        hidden_size: units of h, the state and the output.
        w_init, u_init, b_init: initializers of W, u and b. The roles of the gates are
            "input" (z), "reset" and "candidate"; b_z falls from 0 to -1 over the units.
        use_bias: False for a cell without b.

    Raises:
        TypeError: if a size is not an integer, or if an initializer is not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.ParaGRU(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 4)

    Reference: Danieli, Rodriguez, Sarabia, Suau, Zappella 2025, "ParaRNN", arXiv:2510.21450.
    """

    input_size: int
    hidden_size: int
    w_init: Any = Glorot()
    u_init: Any = SmallNormal()
    b_init: Any = ForgetRange(0.0, 1.0)
    use_bias: bool = True

    def __post_init__(self):
        check_vectors(self)

    def init(self, key):
        h, dtype = self.hidden_size, float_dtype()
        k_w, k_u, k_b = jax.random.split(key, 3)
        return ParaGRUParams(
            w=blocks(self.w_init, k_w, (self.input_size, h), 3),
            u=self.u_init(k_u, (3, h), dtype),
            b=biases(self, k_b, "input", "reset", "candidate"),
        )

    def initial_state(self, params):
        return jnp.zeros(self.hidden_size, params.w.dtype)

    def project(self, params, x):
        return add_bias(x @ params.w, params.b)

    def recur(self, params, state, z):
        x_z, x_r, x_n = jnp.split(z, 3)
        u_z, u_r, u_n = params.u
        z, r = sigmoid(x_z + u_z * state), sigmoid(x_r + u_r * state)
        n = jnp.tanh(x_n + u_n * (r * state))
        return (1 - z) * state + z * n
