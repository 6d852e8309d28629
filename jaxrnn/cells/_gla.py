"""Gated linear attention. Yang, Wang, Shen, Panda, Kim 2024, arXiv:2312.06635."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, silu
from jaxtyping import Array, Float

from .._arrays import float_dtype
from .._validate import check_sizes
from ..initializers import Glorot
from ._common import rms_norm
from ._matrix import HeadedCell, Heads


_TEMPERATURE = 16.0  # the paper's tau: decays start close to 1


class GLAParams(NamedTuple):
    """Parameters of `GLA`; axes h and heads*k concatenate the heads."""

    w_q: Float[Array, "x heads*k"]
    w_k: Float[Array, "x heads*k"]
    w_v: Float[Array, "x h"]
    w_a1: Float[Array, "x r"]
    w_a2: Float[Array, "r heads*k"]
    b_a: Float[Array, "heads*k"]
    w_r: Float[Array, "x h"]
    b_r: Float[Array, "h"]
    norm: Float[Array, "h/heads"]
    w_o: Float[Array, "h x"]


@dataclass(frozen=True)
class GLA(HeadedCell):
    """Gated linear attention: the input sets a decay for every row of the state matrix.

        q, k, v = W_q x / sqrt(k), W_k x, W_v x
        alpha = sigmoid(W_a2 W_a1 x + b_a)^(1/16)
        S' = diag(alpha) S + k v^T
        y  = W_o (rms_norm(S'^T q) * swish(W_r x + b_r))

    The heads are independent; only W_o mixes them. The state is at least float32, even if
    the parameters are bfloat16.

    Differs from the authors' code (fla) in: the gate has the paper's bias b_r, which fla
    lacks; no short convolutions, feature maps, shared keys, decay floor (`clamp_min`), or
    other temperature.

    Args:
        input_size: features of x, and of y.
        hidden_size: values of all heads together, h; a multiple of `heads`.
        heads: number of heads, each with its own state matrix.
        key_size: rows of each state matrix; None for half as many rows as
            columns, as in the paper.
        rank: rank of W_a2 W_a1, which sets the decays.
        w_init: initializer of the weight matrices.

    Raises:
        TypeError: if a size is not an integer, or if `w_init` is not callable.
        ValueError: if a size is below 1, or if `heads` does not divide `hidden_size`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.GLA(3, 8, heads=2)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, state.shape
        ((5, 2, 3), (2, 2, 2, 4))

    Reference: Yang et al. 2024, arXiv:2312.06635, section 4.4.
    """

    input_size: int
    hidden_size: int
    heads: int = 1
    key_size: int | None = None
    rank: int = 16
    w_init: Any = Glorot()

    def __post_init__(self):
        self.check()
        check_sizes(self, "rank")

    @property
    def keys(self):
        return self.key_size or max(1, self.values // 2)

    def init(self, key):
        x, h, k = self.input_size, self.hidden_size, self.heads * self.keys
        dtype = float_dtype()
        k_q, k_k, k_v, k_1, k_2, k_r, k_o = jax.random.split(key, 7)
        return GLAParams(
            w_q=self.weight(k_q, x, k),
            w_k=self.weight(k_k, x, k),
            w_v=self.weight(k_v, x, h),
            w_a1=self.weight(k_1, x, self.rank),
            w_a2=self.weight(k_2, self.rank, k),
            b_a=jnp.zeros(k, dtype),
            w_r=self.weight(k_r, x, h),
            b_r=jnp.zeros(h, dtype),
            norm=jnp.ones(self.values, dtype),
            w_o=self.weight(k_o, h, x),
        )

    def project(self, params, x):
        q, k, v = (x @ w for w in (params.w_q, params.w_k, params.w_v))
        decay = log_sigmoid(x @ params.w_a1 @ params.w_a2 + params.b_a) / _TEMPERATURE
        gate = silu(x @ params.w_r + params.b_r)
        q, k, v, decay = map(self.split, (q, k, v, decay))
        return Heads(q / math.sqrt(self.keys), k, v, decay, None, gate)

    def combine(self, params, read, z):
        normed = rms_norm(read, params.norm[None])
        return (normed.reshape(-1) * z.rest) @ params.w_o
