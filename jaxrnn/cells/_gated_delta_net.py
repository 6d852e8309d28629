"""Gated DeltaNet. Yang, Kautz, Hatamizadeh 2025, arXiv:2412.06464."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid, silu, softplus
from jaxtyping import Array, Float

from .._arrays import float_dtype, state_dtype
from .._validate import check_kind
from ..initializers import Glorot
from ._common import l2_normalize, log_uniform, rms_norm, softplus_inverse
from ._matrix import HeadedCell, Heads


class GatedDeltaNetParams(NamedTuple):
    """Parameters of `GatedDeltaNet`; axes h and heads*k concatenate the heads."""

    w_q: Float[Array, "x heads*k"]
    w_k: Float[Array, "x heads*k"]
    w_v: Float[Array, "x h"]
    w_b: Float[Array, "x heads"]
    w_a: Float[Array, "x heads"]
    b_a: Float[Array, "heads"]
    log_a: Float[Array, "heads"]
    w_g: Float[Array, "x h"]
    norm: Float[Array, "h/heads"]
    w_o: Float[Array, "h x"]


@dataclass(frozen=True)
class GatedDeltaNet(HeadedCell):
    """The delta rule with decay: a write replaces a value, and a gate can forget all.

        q, k, v = l2_normalize(swish(W_q x)) / sqrt(k), l2_normalize(swish(W_k x)), swish(W_v x)
        beta = sigmoid(W_b x),    doubled with negative eigenvalues
        alpha = exp(-exp(log_a) softplus(W_a x + b_a))
        S' = alpha (I - beta k k^T) S + beta k v^T
        y  = W_o (rms_norm(S'^T q) * swish(W_g x))

    The heads are independent; only W_o mixes them. The authors' model has a causal
    convolution of width 4 before q, k and v. The state is at least float32, even if the
    parameters are bfloat16.

    Differs from the authors' code (fla) in: no short convolutions; exp(log_a) starts above
    1e-4, which keeps its logarithm finite; keys and values have the same number of heads;
    the output gate is always used.

    Args:
        input_size: features of x, and of y.
        hidden_size: values of all heads together, h; a multiple of `heads`.
        heads: number of heads, each with its own state matrix.
        key_size: rows of each state matrix; None for as many rows as columns.
        negative_eigenvalues: whether beta ranges up to 2 instead of 1, so that eigenvalues
            range from -alpha to alpha instead of from 0.
        w_init: initializer of the weight matrices.

    Raises:
        TypeError: if a size is not an integer, or if `w_init` is not callable.
        ValueError: if a size is below 1, or if `heads` does not divide `hidden_size`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.GatedDeltaNet(3, 8, heads=2, negative_eigenvalues=True)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, state.shape
        ((5, 2, 3), (2, 2, 4, 4))

    Reference: Yang et al. 2025, arXiv:2412.06464; negative eigenvalues, Grazzi et al.
    2025, arXiv:2411.12537. exp(log_a) starts in U(0, 16), and the softplus starts like
    Mamba-2's dt.
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
        dtype, heads = float_dtype(), (self.heads,)
        k_q, k_k, k_v, k_b, k_a, k_bias, k_log, k_g, k_o = jax.random.split(key, 9)
        dt = log_uniform(k_bias, heads, 1e-3, 1e-1, dtype)
        return GatedDeltaNetParams(
            w_q=self.weight(k_q, x, k),
            w_k=self.weight(k_k, x, k),
            w_v=self.weight(k_v, x, h),
            w_b=self.weight(k_b, x, self.heads),
            w_a=self.weight(k_a, x, self.heads),
            b_a=softplus_inverse(dt),
            # from 1e-4, not 0, because the parameter is the logarithm
            log_a=jnp.log(jax.random.uniform(k_log, heads, dtype, 1e-4, 16.0)),
            w_g=self.weight(k_g, x, h),
            norm=jnp.ones(self.values, dtype),
            w_o=self.weight(k_o, h, x),
        )

    def project(self, params, x):
        dtype = state_dtype(params)
        q, k, v = (
            self.split(silu((x @ w).astype(dtype)))
            for w in (params.w_q, params.w_k, params.w_v)
        )
        beta = (2 if self.negative_eigenvalues else 1) * sigmoid(x @ params.w_b)
        dt = softplus(x @ params.w_a + params.b_a).astype(dtype)
        log_decay = -jnp.exp(params.log_a.astype(dtype)) * dt
        gate = silu(x @ params.w_g)
        q = l2_normalize(q) / math.sqrt(self.keys)
        return Heads(q, l2_normalize(k), v, log_decay[:, None], beta, gate)

    def combine(self, params, read, z):
        normed = rms_norm(read, params.norm[None])
        return (normed.reshape(-1) * z.rest) @ params.w_o
