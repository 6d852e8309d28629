"""DeltaNet. Yang, Wang, Zhang, Shen, Kim 2024, arXiv:2406.06484."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid, silu
from jaxtyping import Array, Float

from .._arrays import float_dtype, state_dtype
from .._validate import check_kind
from ..initializers import Glorot
from ._common import l2_normalize, rms_norm
from ._matrix import HeadedCell, Heads


class DeltaNetParams(NamedTuple):
    """Parameters of `DeltaNet`; axes h and heads*k concatenate the heads."""

    w_q: Float[Array, "x heads*k"]
    w_k: Float[Array, "x heads*k"]
    w_v: Float[Array, "x h"]
    w_b: Float[Array, "x heads"]
    norm: Float[Array, "h/heads"]
    w_o: Float[Array, "h x"]


@dataclass(frozen=True)
class DeltaNet(HeadedCell):
    """Linear attention with the delta rule: a write replaces the value at its key.

        q, k, v = l2_normalize(swish(W_q x)) / sqrt(k), l2_normalize(swish(W_k x)), swish(W_v x)
        beta = sigmoid(W_b x),    doubled with negative eigenvalues
        S' = S + beta k (v - S^T k)^T
        y  = W_o rms_norm(S'^T q)

    The heads are independent; only W_o mixes them. A step multiplies S by I - beta k k^T,
    whose eigenvalue along k is 1 - beta. If beta may reach 2, this eigenvalue may reach -1,
    without which such a cell cannot count modulo 2. The authors' model has a causal
    convolution of width 4 before q, k and v. The state is at least float32, even if the
    parameters are bfloat16.

    Differs from the authors' code (fla) in: no short convolutions; q and k always have SiLU
    and unit length (`qk_activation` and `qk_norm` there); beta and the norm are always
    used, the output gate never.

    Args:
        input_size: features of x, and of y.
        hidden_size: values of all heads together, h; a multiple of `heads`.
        heads: number of heads, each with its own state matrix.
        key_size: rows of each state matrix; None for as many rows as columns.
        negative_eigenvalues: whether beta ranges up to 2 instead of 1.
        w_init: initializer of the weight matrices.

    Raises:
        TypeError: if a size is not an integer, or if `w_init` is not callable.
        ValueError: if a size is below 1, or if `heads` does not divide `hidden_size`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.DeltaNet(3, 8, heads=2)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, state.shape
        ((5, 2, 3), (2, 2, 4, 4))

    Reference: Yang et al. 2024, arXiv:2406.06484; negative eigenvalues, Grazzi et al.
    2025, arXiv:2411.12537.
    """

    input_size: int
    hidden_size: int
    heads: int = 1
    key_size: int | None = None
    negative_eigenvalues: bool = False
    w_init: Any = Glorot()

    def __post_init__(self):
        self.check()
        check_kind(
            self,
            "negative_eigenvalues",
            self.negative_eigenvalues,
            bool,
            "give True or False.",
        )

    def init(self, key):
        x, h, k = self.input_size, self.hidden_size, self.heads * self.keys
        k_q, k_k, k_v, k_b, k_o = jax.random.split(key, 5)
        return DeltaNetParams(
            w_q=self.weight(k_q, x, k),
            w_k=self.weight(k_k, x, k),
            w_v=self.weight(k_v, x, h),
            w_b=self.weight(k_b, x, self.heads),
            norm=jnp.ones(self.values, float_dtype()),
            w_o=self.weight(k_o, h, x),
        )

    def project(self, params, x):
        dtype = state_dtype(params)
        q, k, v = (
            self.split(silu((x @ w).astype(dtype)))
            for w in (params.w_q, params.w_k, params.w_v)
        )
        beta = (2 if self.negative_eigenvalues else 1) * sigmoid(x @ params.w_b)
        no_decay = jnp.zeros_like(beta)[:, None]
        q = l2_normalize(q) / math.sqrt(self.keys)
        return Heads(q, l2_normalize(k), v, no_decay, beta, None)

    def combine(self, params, read, z):
        normed = rms_norm(read, params.norm[None])
        return normed.reshape(-1) @ params.w_o
