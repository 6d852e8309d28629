"""The mLSTM of xLSTM. Beck, Pöppel, Spanring et al. 2024, arXiv:2405.04517."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, sigmoid
from jaxtyping import Array, Float

from .._arrays import broadcast_by_matmul, float_dtype, state_dtype
from .._layer import StepMask
from ..initializers import Glorot
from ._matrix import HeadedCell, Heads, read, run_chunk, run_step


class MLSTMParams(NamedTuple):
    """Parameters of `MLSTM`; axes h and heads*k concatenate the heads."""

    w_q: Float[Array, "x heads*k"]
    w_k: Float[Array, "x heads*k"]
    w_v: Float[Array, "x h"]
    w_i: Float[Array, "x heads"]
    b_i: Float[Array, "heads"]
    w_f: Float[Array, "x heads"]
    b_f: Float[Array, "heads"]
    w_o: Float[Array, "x h"]
    b_o: Float[Array, "h"]


class MLSTMState(NamedTuple):
    """The memory with the normaliser n as its last column, and the scale of both.

    C and n of the equations are `exp(scale)` times `memory`.
    """

    memory: Float[Array, "heads k v+1"]
    scale: Float[Array, "heads"]


class _Projected(NamedTuple):
    q: Float[Array, "heads k"]
    k: Float[Array, "heads k"]
    v: Float[Array, "heads v+1"]
    log_i: Float[Array, "heads"]
    log_f: Float[Array, "heads"]
    o: Float[Array, "h"]


@dataclass(frozen=True)
class MLSTM(HeadedCell):
    """LSTM with a matrix memory, exponential input gates and a normaliser.

        q, k, v = W_q x, W_k x / sqrt(k), W_v x
        i = exp(W_i x + b_i),    f = sigmoid(W_f x + b_f)
        C' = f C + i k v^T
        n' = f n + i k
        h' = sigmoid(W_o x + b_o) * C'^T q / max(|n'^T q|, 1)

    Each head has its own i, f, C and n. C and n are stored divided by exp(m), where
    m' = max(log f + m, log i), so that nothing overflows. The biases of f start evenly
    spaced from 3 to 6 and the biases of i near zero; the weights of both start at zero. The
    state is at least float32, even if the parameters are bfloat16.

    Differs from the authors' code in: the denominator lacks its 1e-6 (5e-6 of the output;
    2e-5 for inputs with a bias of 12); the gates see x, as in the paper, there q, k and v;
    W starts as `Glorot`, there N(0, 2 / (5 x)); no group norm over heads, learnable skip,
    z branch or convolution.

    Args:
        input_size: features of x.
        hidden_size: values of all heads together, h, the output; a multiple of `heads`.
        heads: number of heads, each with its own C and n.
        key_size: rows of each head's C; None for as many rows as columns.
        w_init: initializer of W_q, W_k, W_v and W_o.

    Raises:
        TypeError: if a size is not an integer, or if `w_init` is not callable.
        ValueError: if a size is below 1, or if `heads` does not divide `hidden_size`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.MLSTM(3, 8, heads=2)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, state.memory.shape, state.scale.shape
        ((5, 2, 8), (2, 2, 4, 5), (2, 2))

    Reference: Beck et al. 2024, arXiv:2405.04517, equations 19 to 27.
    """

    input_size: int
    hidden_size: int
    heads: int = 1
    key_size: int | None = None
    w_init: Any = Glorot()

    def __post_init__(self):
        self.check()

    def init(self, key):
        x, h, k = self.input_size, self.hidden_size, self.heads * self.keys
        dtype = float_dtype()
        k_q, k_k, k_v, k_i, k_o = jax.random.split(key, 5)
        return MLSTMParams(
            w_q=self.weight(k_q, x, k),
            w_k=self.weight(k_k, x, k),
            w_v=self.weight(k_v, x, h),
            w_i=jnp.zeros((x, self.heads), dtype),
            b_i=0.1 * jax.random.normal(k_i, (self.heads,), dtype),
            w_f=jnp.zeros((x, self.heads), dtype),
            b_f=jnp.linspace(3.0, 6.0, self.heads, dtype=dtype),
            w_o=self.weight(k_o, x, h),
            b_o=jnp.zeros(h, dtype),
        )

    def initial_state(self, params):
        dtype, shape = state_dtype(params), (self.heads, self.keys, self.values + 1)
        return MLSTMState(jnp.zeros(shape, dtype), jnp.zeros(self.heads, dtype))

    def project(self, params, x):
        q, k, v = (self.split(x @ w) for w in (params.w_q, params.w_k, params.w_v))
        dtype = state_dtype(params)
        return _Projected(
            q=q,
            k=k / math.sqrt(self.keys),
            v=jnp.concatenate([v, jnp.ones_like(v[:, :1])], axis=1),
            log_i=(x @ params.w_i + params.b_i).astype(dtype),
            log_f=log_sigmoid((x @ params.w_f + params.b_f).astype(dtype)),
            o=sigmoid(x @ params.w_o + params.b_o),
        )

    def recur(self, params, state, z):
        scale = jnp.maximum(z.log_f + state.scale, z.log_i)
        heads = _scaled(z, state.scale, scale)
        return MLSTMState(run_step(heads, state.memory), scale)

    def readout(self, params, state, z):
        asked = Heads(z.q, z.k, z.v, z.log_f[..., None], None, None)
        return self.combine(params, read(asked, state.memory), z, state.scale)

    def combine(self, params, read, z, scale=None):
        # the memory is stored divided by exp(scale), and so is the floor of 1
        assert scale is not None
        floor = jnp.exp(-scale)[:, None]
        by = broadcast_by_matmul(
            1 / jnp.maximum(jnp.abs(read[:, -1:]), floor), self.values
        )
        h = read[:, :-1] * by
        return z.o * h.reshape(-1).astype(z.o.dtype)

    def chunk(self, params, state, zs, step_mask):
        zs, before, scale = _scales(zs, state.scale, step_mask)
        initial = None if step_mask.initial is None else step_mask.initial.memory
        # no mask of valid steps: `_scales` has made the others keep the state already
        inner = StepMask(None, step_mask.reset, initial)
        memory, reads = run_chunk(_scaled(zs, before, scale), state.memory, inner)
        ys = jax.vmap(self.combine, in_axes=(None, 0, 0, 0))(params, reads, zs, scale)
        return MLSTMState(memory, scale[-1]), ys


def _scaled(z: _Projected, before: Array, scale: Array) -> Heads:
    """The step for a memory divided by exp(before), and by exp(scale) after the step."""
    i = broadcast_by_matmul(jnp.exp(z.log_i - scale)[..., None], z.k.shape[-1])
    log_decay = (z.log_f + before - scale)[..., None]
    return Heads(z.q, i * z.k.astype(i.dtype), z.v, log_decay, None, None)


def _scales(
    zs: _Projected, start: Array, step_mask: StepMask
) -> tuple[_Projected, Array, Array]:
    """The steps, and the scales before and after each step of a chunk, `(C, heads)`.

    m' = max(log f + m, log i) is a linear recurrence in max-plus algebra, so an associative
    scan computes it. Steps that are not valid are replaced by steps that keep the state.
    """
    if step_mask.valid is not None:
        # i = 0 and f = 1 keep both the memory and its scale
        taken = step_mask.valid[:, None]
        zs = zs._replace(
            log_i=jnp.where(taken, zs.log_i, -jnp.inf),
            log_f=jnp.where(taken, zs.log_f, 0),
        )
    slope, floor, fresh = zs.log_f, zs.log_i, jnp.zeros_like(zs.log_f, bool)
    if step_mask.reset is not None:
        fresh = fresh | step_mask.reset[:, None]
        floor = jnp.where(
            fresh, jnp.maximum(floor, slope + step_mask.initial.scale[None]), floor
        )

    def after(first, second):
        # a select, since arithmetic would carry NaN from before a reset past it
        (slope_1, floor_1, fresh_1), (slope_2, floor_2, fresh_2) = first, second
        reached = jnp.maximum(floor_1 + slope_2, floor_2)
        floor = jnp.where(fresh_2, floor_2, reached)
        return slope_1 + slope_2, floor, fresh_1 | fresh_2

    slopes, floors, cut = jax.lax.associative_scan(after, (slope, floor, fresh))
    scale = jnp.where(cut, floors, jnp.maximum(slopes + start[None], floors))
    before = jnp.concatenate([start[None], scale[:-1]])
    if step_mask.reset is not None:
        before = jnp.where(fresh, step_mask.initial.scale[None], before)
    return zs, before, scale
