"""Linear recurrent unit. Orvieto, Smith, Gu et al. 2023, arXiv:2303.06349."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from .._arrays import as_complex, float_dtype, state_dtype
from .._layer import LinearCell
from .._validate import check_between, check_sizes
from ._common import complex_state, real_part, ring


class LRUParams(NamedTuple):
    """Parameters of `LRU`: separate real and imaginary parts, so that all are real."""

    nu: Float[Array, "h"]
    theta: Float[Array, "h"]
    gamma: Float[Array, "h"]
    b_re: Float[Array, "x h"]
    b_im: Float[Array, "x h"]
    c_re: Float[Array, "h x"]
    c_im: Float[Array, "h x"]
    d: Float[Array, "x"]


class _Projected(NamedTuple):
    driven: Complex[Array, "h"]
    skip: Float[Array, "x"]


@dataclass(frozen=True)
class LRU(LinearCell[LRUParams, Complex[Array, "h"]]):
    """Linear recurrent unit: complex, diagonal, and stable for all parameter values.

        lambda = exp(-exp(nu) + i exp(theta))
        h' = lambda h + exp(gamma) B x
        y  = Re(C h') + D x,    D element by element

    |lambda| < 1 for every nu. lambda starts uniformly distributed over a ring, and
    exp(gamma) starts at sqrt(1 - |lambda|^2), so that the state is about as large as the
    input. The state is at least complex64, even if the parameters are bfloat16. The paper
    trains nu, theta, gamma and B at a smaller learning rate, without weight decay.

    Agrees with minimal-LRU, the code that reproduces the paper, and with the paper's own
    listing, except for max_phase, which is 6.28 there, and for radii within 1e-6 of 1,
    which are never drawn here.

    Args:
        input_size: features of x, and of the output.
        hidden_size: units of h, complex.
        r_min, r_max: the ring, 0 <= r_min < r_max <= 1; close to 1 for long memories.
        max_phase: the largest initial angle; angles start uniform between 0 and it.

    Raises:
        TypeError: if a size is not an integer, or if a bound is not a number.
        ValueError: if a size is below 1, if the radii do not bound a ring within the unit
            circle, or if `max_phase` is not from 0 to 2 pi.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.LRU(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, state.shape, state.dtype
        ((5, 2, 3), (2, 4), dtype('complex64'))

    Reference: Orvieto et al. 2023, arXiv:2303.06349.
    """

    input_size: int
    hidden_size: int
    r_min: float = 0.0
    r_max: float = 1.0
    max_phase: float = 2 * math.pi

    def __post_init__(self):
        check_sizes(self, "input_size", "hidden_size")
        check_between(self, "r_min", 0, self.r_max)
        check_between(self, "r_max", self.r_min, 1)
        check_between(self, "max_phase", 0, 2 * math.pi + 1e-6)

    def init(self, key):
        x, h, dtype = self.input_size, self.hidden_size, float_dtype()
        k_nu, k_theta, *k_b, k_c_re, k_c_im, k_d = jax.random.split(key, 7)
        rest = ring(k_nu, (h,), self.r_min, self.r_max, dtype)
        # above 0, because the parameter is the logarithm of the angle
        angle = self.max_phase * jax.random.uniform(k_theta, (h,), dtype, minval=1e-4)
        draw = lambda k, *shape: jax.random.normal(k, shape, dtype)
        return LRUParams(
            nu=jnp.log(-0.5 * jnp.log1p(-rest)),
            theta=jnp.log(angle),
            gamma=0.5 * jnp.log(rest),
            b_re=draw(k_b[0], x, h) / math.sqrt(2 * x),
            b_im=draw(k_b[1], x, h) / math.sqrt(2 * x),
            c_re=draw(k_c_re, h, x) / math.sqrt(h),
            c_im=draw(k_c_im, h, x) / math.sqrt(h),
            d=draw(k_d, x),
        )

    def initial_state(self, params):
        return jnp.zeros(self.hidden_size, complex_state(params))

    def project(self, params, x):
        driven = as_complex(x @ params.b_re, x @ params.b_im, complex_state(params))
        return _Projected(driven, params.d * x)

    def coefficients(self, params, z):
        nu, theta, gamma = (p.astype(state_dtype(params)) for p in params[:3])
        decay = jnp.exp(jax.lax.complex(-jnp.exp(nu), jnp.exp(theta)))
        return decay, jnp.exp(gamma).astype(decay.dtype) * z.driven

    def readout(self, params, state, z):
        return real_part(params.c_re, params.c_im, state) + z.skip
