"""Simplified state space layer. Smith, Warrington, Linderman 2023, arXiv:2208.04933."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .._arrays import as_complex, float_dtype, state_dtype
from .._layer import LinearCell
from .._validate import check_between, check_sizes
from ._common import complex_state, log_uniform, real_part
from ._phi import phi


class S5Params(NamedTuple):
    """Parameters of `S5`: separate real and imaginary parts, so that all are real."""

    lambda_re: Float[Array, "h"]
    lambda_im: Float[Array, "h"]
    log_step: Float[Array, "h"]
    b_re: Float[Array, "x h"]
    b_im: Float[Array, "x h"]
    c_re: Float[Array, "h x"]
    c_im: Float[Array, "h x"]
    d: Float[Array, "x"]


class _Projected(NamedTuple):
    driven: Complex[Array, "h"]
    skip: Float[Array, "x"]


@dataclass(frozen=True)
class S5(LinearCell[S5Params, Complex[Array, "h"]]):
    """State space layer: a diagonal system in continuous time, with zero-order hold.

        Lambda' = exp(Lambda dt),    B' = (Lambda' - 1) / Lambda B,    dt = exp(log_step)
        h' = Lambda' h + B' x
        y  = 2 Re(C h') + D x,    D element by element

    Lambda starts at the eigenvalues of the HiPPO-N matrix, and B and C start in the basis
    of its eigenvectors. The eigenvalues come in conjugate pairs; h holds one of each pair,
    hence the factor 2. The real parts are kept below -1e-4, so that the system is stable
    for all parameter values. The state is at least complex64, even if the parameters are
    bfloat16.

    Differs from the authors' code in: the real parts are always kept below -1e-4, there
    an option (`clip_eigs`); only zero-order hold, no bilinear transform (which changes the
    output by 4e-5); no `step_rescale`; always conjugate pairs; B and C start normal, there
    normal but truncated at two standard deviations, with the same variance.

    Args:
        input_size: features of x, and of the output.
        hidden_size: units of h, complex: half the paper's state size. A multiple of
            `blocks`.
        blocks: number of copies of a smaller HiPPO-N matrix that replace one large matrix.
        dt_min, dt_max: bounds of the initial time steps, which are log-uniform.

    Raises:
        TypeError: if a size is not an integer, or if a time step is not a number.
        ValueError: if a size is below 1, if `blocks` does not divide `hidden_size`, or if
            `dt_min` and `dt_max` are not a range above 0.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.S5(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, state.shape, state.dtype
        ((5, 2, 3), (2, 4), dtype('complex64'))

    Reference: Smith et al. 2023, arXiv:2208.04933.
    """

    input_size: int
    hidden_size: int
    blocks: int = 1
    dt_min: float = 1e-3
    dt_max: float = 1e-1

    def __post_init__(self):
        check_sizes(self, "input_size", "hidden_size", "blocks")
        if self.hidden_size % self.blocks:
            raise ValueError(
                f"S5(hidden_size={self.hidden_size}, blocks={self.blocks}): all blocks "
                "have equally many units; give a `hidden_size` that is a multiple of "
                "`blocks`."
            )
        check_between(self, "dt_min", 1e-12, self.dt_max)
        check_between(self, "dt_max", self.dt_min, math.inf)

    def init(self, key):
        x, h, dtype = self.input_size, self.hidden_size, float_dtype()
        k_b, k_c, k_d, k_step = jax.random.split(key, 4)
        eigenvalues, vectors = _hippo_normal(2 * h // self.blocks)
        # the paper's matrices of 2 h units, in the basis of the eigenvectors of each block
        v = jnp.asarray(np.kron(np.eye(self.blocks), vectors))
        b = jax.random.normal(k_b, (x, 2 * h), dtype) / math.sqrt(2 * h)
        c = jax.random.normal(k_c, (2, 2 * h, x), dtype) / math.sqrt(2 * h)
        c_re, c_im = v.real.T.astype(dtype), v.imag.T.astype(dtype)
        return S5Params(
            lambda_re=jnp.asarray(np.tile(eigenvalues.real, self.blocks), dtype),
            lambda_im=jnp.asarray(np.tile(eigenvalues.imag, self.blocks), dtype),
            log_step=jnp.log(
                log_uniform(k_step, (h,), self.dt_min, self.dt_max, dtype)
            ),
            b_re=b @ v.real.astype(dtype),
            b_im=-b @ v.imag.astype(dtype),
            c_re=c_re @ c[0] - c_im @ c[1],
            c_im=c_re @ c[1] + c_im @ c[0],
            d=jax.random.normal(k_d, (x,), dtype),
        )

    def initial_state(self, params):
        return jnp.zeros(self.hidden_size, complex_state(params))

    def project(self, params, x):
        driven = as_complex(x @ params.b_re, x @ params.b_im, complex_state(params))
        return _Projected(driven, params.d * x)

    def coefficients(self, params, z):
        dtype = state_dtype(params)
        stable = jnp.minimum(params.lambda_re.astype(dtype), -1e-4)
        dt = jnp.exp(params.log_step.astype(dtype))
        log_decay = jax.lax.complex(stable * dt, params.lambda_im.astype(dtype) * dt)
        return jnp.exp(log_decay), dt.astype(log_decay.dtype) * phi(
            1, log_decay
        ) * z.driven

    def readout(self, params, state, z):
        return 2 * real_part(params.c_re, params.c_im, state) + z.skip


def _hippo_normal(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors of HiPPO-N, one of each conjugate pair.

    HiPPO-LegS minus a matrix of rank one is normal: -I / 2 plus a skew-symmetric matrix.
    """
    roots = np.sqrt(2 * np.arange(size) + 1)
    outer = roots[:, None] * roots / 2
    skew = np.triu(outer, 1) - np.tril(outer, -1)
    # -i times a skew-symmetric matrix is Hermitian, so that `eigh` returns the imaginary
    # parts in ascending order: the first half has one eigenvalue of each conjugate pair
    frequencies, vectors = np.linalg.eigh(-1j * skew)
    kept = slice(0, size // 2)
    return -0.5 + 1j * frequencies[kept], vectors[:, kept]
