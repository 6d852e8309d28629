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
    """Parameters of `S5`: real and imaginary parts apart, so that all are real."""

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
    """State space layer: a continuous diagonal system, held constant between steps.

        Lambda' = exp(Lambda dt),    B' = (Lambda' - 1) / Lambda B,    dt = exp(log_step)
        h' = Lambda' h + B' x
        y  = 2 Re(C h') + D x,    D element by element

    Lambda starts at the eigenvalues of the HiPPO-N matrix, B and C in its eigenvectors.
    They come in conjugate pairs, of which h holds one each: hence the 2. The real parts are
    kept below -1e-4, so the system is stable however it is trained. The state is complex
    and at least complex64, also where the parameters are bfloat16.

    Differs from the authors' code in: the real parts are always kept below -1e-4, there
    an option (`clip_eigs`); zero-order hold alone, no bilinear transform (which moves
    the output by 4e-5); no `step_rescale`; always in conjugate pairs; B and C start
    normal, there normal within two deviations, of the same variance.

    Args:
        input_size: features of x, and of the output.
        hidden_size: units of h, complex: half the paper's state size. A multiple of
            `blocks`.
        blocks: copies of a smaller HiPPO-N matrix that stand in the place of a large one.
        dt_min, dt_max: time steps start between them, evenly in their logarithm.

    Raises:
        TypeError, ValueError: for sizes that are not integers of at least 1 or do not
            divide, or time steps that are no range.

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
                f"S5(hidden_size={self.hidden_size}, blocks={self.blocks}): the blocks "
                "share the units evenly; give a multiple."
            )
        check_between(self, "dt_min", 1e-12, self.dt_max)
        check_between(self, "dt_max", self.dt_min, math.inf)

    def init(self, key):
        x, h, dtype = self.input_size, self.hidden_size, float_dtype()
        k_b, k_c, k_d, k_step = jax.random.split(key, 4)
        eigenvalues, vectors = _hippo_normal(2 * h // self.blocks)
        # the wide matrices of the paper, in the basis of the eigenvectors of each block
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

    HiPPO-LegS less a matrix of rank one is normal: -1/2 and a skew-symmetric part.
    """
    roots = np.sqrt(2 * np.arange(size) + 1)
    outer = roots[:, None] * roots / 2
    skew = np.triu(outer, 1) - np.tril(outer, -1)
    frequencies, vectors = np.linalg.eigh(-1j * skew)
    kept = slice(0, size // 2)
    return -0.5 + 1j * frequencies[kept], vectors[:, kept]
