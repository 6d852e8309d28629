"""The sLSTM of xLSTM: exponential gates, memory mixing in heads. Beck et al. 2024."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, sigmoid
from jaxtyping import Array, Float

from .._arrays import add_bias, float_dtype, state_dtype
from .._layer import Cell
from ..initializers import ForgetPowerLaw, Glorot, Identity
from ._common import blocks, check_dense


class SLSTMParams(NamedTuple):
    """Parameters of `SLSTM`: gates i, f, z, o; U has n heads of d units."""

    w: Float[Array, "x g"]
    u: Float[Array, "n d gd"]
    b: Float[Array, "g"] | None


class SLSTMState(NamedTuple):
    """State of `SLSTM`: output, memory, normaliser, and the logarithm of their scale."""

    h: Float[Array, "*B h"]
    c: Float[Array, "*B h"]
    n: Float[Array, "*B h"]
    m: Float[Array, "*B h"]


@dataclass(frozen=True)
class SLSTM(Cell[SLSTMParams, SLSTMState]):
    """LSTM with exponential input gates, a normaliser, and units mixed within heads.

        i, f, z, o = split(W x + U h + b),      U block-diagonal, a block for each head
        m' = max(log sigmoid(f) + m, i)
        i' = exp(i - m'),  f' = exp(log sigmoid(f) + m - m')
        c' = f' c + i' tanh(z)
        n' = f' n + i'
        h' = sigmoid(o) c' / n'

    c and n are stored divided by exp(m), so that no exponential overflows; h does not
    depend on m. If n = 0, as in the initial state, there is nothing to keep and m' = i. The
    state is at least float32, even if the parameters are bfloat16.

    Differs from the authors' code in: W is dense, there headwise block-diagonal; W starts
    as `Glorot`, there N(0, 2 / (5 x)); no convolution before the cell, no group norm after
    it, and no truncated or clipped gradients.

    Args:
        input_size: features of x.
        hidden_size: units of h, the output, and of c, n and m.
        heads: number of groups of units; a unit sees only the h of its own head.
        w_init, u_init, b_init: initializers of W, of each head's U, which starts at zero as
            in the authors' code, and of b, which is drawn head by head.
        use_bias: False for a cell without b.

    Raises:
        TypeError: if a size is not an integer, or if an initializer is not callable.
        ValueError: if a size is below 1, or if `heads` does not divide `hidden_size`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.SLSTM(3, 8, heads=2)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, params.u.shape
        ((5, 2, 8), (2, 4, 16))

    Reference: Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter,
    Hochreiter 2024, "xLSTM", arXiv:2405.04517.
    """

    input_size: int
    hidden_size: int
    heads: int = 1
    w_init: Any = Glorot()
    u_init: Any = Identity(0.0)
    b_init: Any = ForgetPowerLaw()
    use_bias: bool = True

    def __post_init__(self):
        check_dense(self, "heads")
        if self.hidden_size % self.heads:
            raise ValueError(
                f"SLSTM(hidden_size={self.hidden_size}, heads={self.heads}): each head has "
                "equally many units; give heads that divide hidden_size."
            )

    def init(self, key):
        d, dtype = self.hidden_size // self.heads, float_dtype()
        k_w, k_u, k_b = jax.random.split(key, 3)
        gates = ("input", "forget", "candidate", "output")
        u = [blocks(self.u_init, k, (d, d), 4) for k in self._keys(k_u)]
        b = [self.b_init.bias(k, gates, d, dtype) for k in self._keys(k_b)]
        return SLSTMParams(
            w=blocks(self.w_init, k_w, (self.input_size, self.hidden_size), 4),
            u=jnp.stack(u),
            b=_gates_first(jnp.stack(b)) if self.use_bias else None,
        )

    def initial_state(self, params):
        h, dtype = self.hidden_size, state_dtype(params)
        return SLSTMState(*(jnp.zeros(h, dtype) for _ in range(4)))

    def project(self, params, x):
        return add_bias(x @ params.w, params.b)

    def recur(self, params, state, z):
        by_head = state.h.astype(params.u.dtype).reshape(self.heads, -1)
        mixed = jnp.einsum("nd,ndg->ng", by_head, params.u)
        gates = (z + _gates_first(mixed)).astype(state.m.dtype)
        i, f, z, o = jnp.split(gates, 4)
        # n = 0: m is arbitrary and must not set the scale, else n' could underflow to 0
        kept = jnp.where(state.n == 0, i, log_sigmoid(f) + state.m)
        m = jnp.maximum(kept, i)
        i, f = jnp.exp(i - m), jnp.exp(kept - m)
        c = f * state.c + i * jnp.tanh(z)
        n = f * state.n + i
        return SLSTMState(sigmoid(o) * c / n, c, n, m)

    def readout(self, params, state, z):
        return state.h.astype(z.dtype)

    def _keys(self, key):
        return jax.random.split(key, self.heads)


def _gates_first(by_head: Float[Array, "n gd"]) -> Float[Array, "g"]:
    """Reorders the concatenated gates of each head by gate: `(gate, head, unit)`."""
    heads = by_head.shape[0]
    return by_head.reshape(heads, 4, -1).swapaxes(0, 1).reshape(-1)
