"""GRU with layer normalisation. Ba, Kiros, Hinton 2016, arXiv:1607.06450."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.nn import sigmoid
from jaxtyping import Array, Float

from .._arrays import add_bias
from .._layer import Cell
from ..initializers import ForgetBias, Glorot, Orthogonal
from ._common import check_dense, dense_gates
from ._norm import NormParams, layer_norm, norm_init


class LayerNormGRUParams(NamedTuple):
    """Parameters of `LayerNormGRU`: gates r, z, n; norms of r and z, and of n."""

    w: Float[Array, "x g"]
    u: Float[Array, "h g"]
    b: Float[Array, "g"] | None
    norm_x: NormParams
    norm_h: NormParams
    norm_xn: NormParams
    norm_hn: NormParams


@dataclass(frozen=True)
class LayerNormGRU(Cell[LayerNormGRUParams, Float[Array, "h"]]):
    """GRU with layer normalisation of every matmul.

        r, z = split(sigmoid(LN(W_rz x) + LN(U_rz h) + b_rz))
        n = tanh(LN(W_n x) + b_n + r LN(U_n h))
        h' = (1 - z) n + z h

    Each LN has its own gain and shift, and an epsilon of 1e-5. One LN covers r and z
    together, as in the paper. The surprise: z keeps the old state, as in `GRU` and in the
    authors' code; the paper's z writes.

    Differs from the authors' code in: b is added after the norm of W x, there before it.
    The state has the dtype of the parameters (see `LSTM`); sums over units are at least
    float32.

    Args:
        input_size: features of x.
        hidden_size: units of h, the state and the output.
        w_init, u_init, b_init: initializers of W, U and b.
        use_bias: False for a cell without b; the shifts of the norms stay.

    Raises:
        TypeError: if a size is not an integer, or if an initializer is not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.LayerNormGRU(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 4)

    Reference: Ba, Kiros, Hinton 2016, arXiv:1607.06450, supplementary equations of the GRU.
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
        h = self.hidden_size
        w, u, b = dense_gates(self, key, "reset", "forget", "candidate")
        norms = (norm_init(n, w.dtype) for n in (2 * h, 2 * h, h, h))
        return LayerNormGRUParams(w, u, b, *norms)

    def initial_state(self, params):
        return jnp.zeros(self.hidden_size, params.w.dtype)

    def project(self, params, x):
        normed = self._norms(params.norm_x, params.norm_xn, x @ params.w)
        return add_bias(normed, params.b)

    def recur(self, params, state, z):
        x_r, x_z, x_n = jnp.split(z, 3)
        recurrent = self._norms(params.norm_h, params.norm_hn, state @ params.u)
        h_r, h_z, h_n = jnp.split(recurrent, 3)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + r * h_n)
        return (1 - z) * n + z * state

    def _norms(self, norm_rz, norm_n, gates):
        size = 2 * self.hidden_size
        rz, n = layer_norm(norm_rz, gates[:size]), layer_norm(norm_n, gates[size:])
        return jnp.concatenate([rz, n])
