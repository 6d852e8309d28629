"""Real-gated linear recurrent unit. De, Smith, Fernando et al. 2024, arXiv:2402.19427."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid, softplus
from jaxtyping import Array, Float

from .._arrays import float_dtype, state_dtype
from .._layer import LinearCell
from .._validate import check_between, check_heads, check_sizes
from ._common import bounded_sqrt, ring, softplus_inverse


_SHARPNESS = 8.0  # the paper's c


class RGLRUParams(NamedTuple):
    """Parameters of `RGLRU`: the decay, and the gates of a and x, a block per head."""

    decay: Float[Array, "h"]
    w_a: Float[Array, "heads h/heads h/heads"]
    b_a: Float[Array, "h"]
    w_x: Float[Array, "heads h/heads h/heads"]
    b_x: Float[Array, "h"]


class _Projected(NamedTuple):
    log_decay: Float[Array, "h"]
    driven: Float[Array, "h"]


@dataclass(frozen=True)
class RGLRU(LinearCell[RGLRUParams, Float[Array, "h"]]):
    """Real-gated linear recurrent unit: the recurrence of Griffin and Hawk.

        r = sigmoid(W_a x + b_a)
        i = sigmoid(W_x x + b_x)
        a = exp(-8 softplus(Lambda) r)
        h' = a h + sqrt(1 - a^2) (i x)

    The gates' matrices are block-diagonal, one block per head. Lambda starts such that
    sigmoid(-Lambda) is uniform by area over a ring, as in the authors' code; a is its 8th
    power at r = 1. The paper draws a itself from U(0.9, 0.999), which is close to
    `r_min=0.9 ** (1 / 8), r_max=0.999 ** (1 / 8)`. The derivative of the square root is
    bounded at 1000, as in the authors' code, since it is infinite at a = 1. The state is at
    least float32, even if the parameters are bfloat16. In Griffin, a causal convolution of
    width 4 precedes this cell.

    Differs from the authors' code in: the first step of a document, where theirs omits the
    square root. There, outputs differ by up to 0.52 of the largest; with fresh parameters,
    our output is 0.06 to 0.41 of theirs. This cell keeps the root because a step cannot
    tell the initial state from another state of the same value, and streaming by steps
    must equal one call. Also: the gates' matrices start with standard deviation
    sqrt(heads / h), as in their PyTorch code, while their JAX code has sqrt(1 / h); there
    is no complex variant.

    Args:
        input_size: features of x, and units of h, the output; a multiple of `heads`.
        heads: number of blocks of the gates' matrices.
        r_min, r_max: the ring, 0 <= r_min < r_max <= 1.

    Raises:
        TypeError: if a size is not an integer, or if a radius is not a number.
        ValueError: if a size is below 1, if `heads` does not divide `input_size`, or if the
            radii do not bound a ring within the unit circle.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.RGLRU(4, heads=2)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 4)))
        >>> ys.shape, state.shape
        ((5, 2, 4), (2, 4))

    Reference: De et al. 2024, arXiv:2402.19427, section 2.4.
    """

    input_size: int
    heads: int = 1
    r_min: float = 0.9
    r_max: float = 0.999

    def __post_init__(self):
        check_sizes(self, "input_size", "heads")
        check_heads(self, "input_size")
        check_between(self, "r_min", 0, self.r_max)
        check_between(self, "r_max", self.r_min, 1)

    def init(self, key):
        h, dtype = self.input_size, float_dtype()
        k_decay, k_a, k_x = jax.random.split(key, 3)
        block = (self.heads, h // self.heads, h // self.heads)
        scale = block[1] ** -0.5
        rest = ring(k_decay, (h,), self.r_min, self.r_max, dtype)
        return RGLRUParams(
            decay=softplus_inverse(-0.5 * jnp.log1p(-rest)),
            w_a=scale * jax.random.normal(k_a, block, dtype),
            b_a=jnp.zeros(h, dtype),
            w_x=scale * jax.random.normal(k_x, block, dtype),
            b_x=jnp.zeros(h, dtype),
        )

    def initial_state(self, params):
        return jnp.zeros(self.input_size, state_dtype(params))

    def project(self, params, x):
        split = x.reshape(self.heads, -1)
        gate = lambda w, b: sigmoid(jnp.einsum("ni,nij->nj", split, w).reshape(-1) + b)
        r, i = gate(params.w_a, params.b_a), gate(params.w_x, params.b_x)
        dtype = state_dtype(params)
        decay = softplus(params.decay.astype(dtype))
        return _Projected(-_SHARPNESS * decay * r.astype(dtype), i * x)

    def coefficients(self, params, z):
        # 1 - a^2, without cancellation where a is close to 1
        rest = -jnp.expm1(2 * z.log_decay)
        return jnp.exp(z.log_decay), bounded_sqrt(rest) * z.driven.astype(rest.dtype)

    def readout(self, params, state, z):
        return state.astype(z.driven.dtype)
