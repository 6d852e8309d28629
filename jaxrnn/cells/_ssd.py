"""Mamba-2's recurrence. Dao & Gu 2024, arXiv:2405.21060."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import silu, softplus
from jaxtyping import Array, Float

from .._arrays import float_dtype, state_dtype
from ..initializers import Glorot
from ._common import log_uniform, rms_norm, softplus_inverse
from ._matrix import HeadedCell, Heads


class SSDParams(NamedTuple):
    """Parameters of `SSD`; W_B and W_C are shared by all heads."""

    w_x: Float[Array, "x h"]
    w_b: Float[Array, "x k"]
    w_c: Float[Array, "x k"]
    w_dt: Float[Array, "x heads"]
    b_dt: Float[Array, "heads"]
    log_a: Float[Array, "heads"]
    d: Float[Array, "heads"]
    w_z: Float[Array, "x h"]
    norm: Float[Array, "h"]
    w_o: Float[Array, "h x"]


class _Rest(NamedTuple):
    skip: Float[Array, "heads v"]
    gate: Float[Array, "h"]


@dataclass(frozen=True)
class SSD(HeadedCell):
    """The recurrence of Mamba-2 (state space duality): the input sets a decay per head.

        u, B, C = swish(W_x x), swish(W_B x), swish(W_C x)
        dt = softplus(W_dt x + b_dt),    a = exp(-exp(log_a) dt)
        S' = a S + dt B u^T
        y  = W_o rms_norm((S'^T C + D u) * swish(W_z x))

    Each head has its own u, dt, a, D and S. All heads share B and C; the norm and W_o mix
    them. The state is at least float32, even if the parameters are bfloat16.

    Differs from the authors' code in: no convolution of width 4 before u, B and C, only its
    SiLU; all heads share B and C (`n_groups` = 1); no `dt_limit`; only one D per head; the
    norm always after the gate.

    Args:
        input_size: features of x, and of y.
        hidden_size: features of u over all heads together, h; a multiple of `heads`.
        heads: number of heads, each with its own state matrix.
        key_size: rows of each state matrix, the paper's state size N; None for as many rows
            as columns.
        w_init: initializer of the weight matrices.

    Raises:
        TypeError: if a size is not an integer, or if `w_init` is not callable.
        ValueError: if a size is below 1, or if `heads` does not divide `hidden_size`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.SSD(3, 8, heads=2)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, state.shape
        ((5, 2, 3), (2, 2, 4, 4))

    Reference: Dao & Gu 2024, arXiv:2405.21060. exp(log_a) starts in U(1, 16), dt
    log-uniformly between 0.001 and 0.1.
    """

    input_size: int
    hidden_size: int
    heads: int = 1
    key_size: int | None = None
    w_init: Any = Glorot()

    def __post_init__(self):
        self.check()

    def init(self, key):
        x, h, k, dtype = self.input_size, self.hidden_size, self.keys, float_dtype()
        k_x, k_b, k_c, k_dt, k_bias, k_a, k_z, k_o = jax.random.split(key, 8)
        heads = (self.heads,)
        dt = log_uniform(k_bias, heads, 1e-3, 1e-1, dtype)
        return SSDParams(
            w_x=self.weight(k_x, x, h),
            w_b=self.weight(k_b, x, k),
            w_c=self.weight(k_c, x, k),
            w_dt=self.weight(k_dt, x, self.heads),
            b_dt=softplus_inverse(dt),
            log_a=jnp.log(jax.random.uniform(k_a, heads, dtype, 1.0, 16.0)),
            d=jnp.ones(heads, dtype),
            w_z=self.weight(k_z, x, h),
            norm=jnp.ones(h, dtype),
            w_o=self.weight(k_o, h, x),
        )

    def project(self, params, x):
        dtype = state_dtype(params)
        u, b, c = (
            silu((x @ w).astype(dtype)) for w in (params.w_x, params.w_b, params.w_c)
        )
        u = self.split(u)
        dt = softplus(x @ params.w_dt + params.b_dt).astype(dtype)[:, None]
        log_decay = -jnp.exp(params.log_a.astype(dtype))[:, None] * dt
        rest = _Rest(params.d.astype(dtype)[:, None] * u, silu(x @ params.w_z))
        return Heads(c[None], b[None], dt * u, log_decay, None, rest)

    def combine(self, params, read, z):
        y = (read + z.rest.skip).reshape(-1) * z.rest.gate.astype(read.dtype)
        return rms_norm(y, params.norm) @ params.w_o
