"""Additive attention. Bahdanau, Cho, Bengio 2014, arXiv:1409.0473."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import float_dtype
from ..initializers import Glorot
from ._attention import Attention, dot
from ._bidirectional import concatenate


class AdditiveAttentionParams(NamedTuple):
    """Parameters of `AdditiveAttention`."""

    w_q: Float[Array, "x h"]
    w_k: Float[Array, "m h"]
    v: Float[Array, "h"]


@dataclass(frozen=True)
class AdditiveAttention(Attention):
    """Attention over a fixed memory, with scores from a small network.

        e_ts = v . tanh(W_q x_t + W_k m_s)
        a_ts = softmax_s(e_ts) over valid s,    c_t = sum_s a_ts m_s,    y_t = merge(x_t, c_t)

    The state is the memory. It has no initial value: make it with `memory`, and pass it to
    `unroll` as this layer's part of the state, as in the example of `DotProductAttention`.
    Steps and resets leave it unchanged. If its length is 0, the context is zero.

    The tanh of all pairs, `(T, B, S, h)`, is never stored: the steps are scored one after
    the other, and the backward pass computes the tanh again.

    Args:
        query_size: features of x.
        memory_size: features of m, the values of the memory.
        hidden_size: hidden units of the network.
        merge: the function `merge(x, c)` of inputs and contexts, `(..., features)`. The
            default concatenates their features; `lambda x, c: c` gives the context alone.
        w_init: initializer of the weights.

    Raises:
        TypeError: if a size is not an integer, or if `merge` or `w_init` is not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> attention = jaxrnn.AdditiveAttention(query_size=3, memory_size=6, hidden_size=8)
        >>> params = attention.init(jax.random.key(0))
        >>> memory = attention.memory(params, jnp.ones((7, 2, 6)), jnp.array([7, 0]))
        >>> _, ys = jaxrnn.unroll(attention, params, jnp.ones((5, 2, 3)), memory)
        >>> ys.shape, ys[0, 0, 3:].round(4).tolist(), ys[0, 1, 3:].tolist()
        ((5, 2, 9), [1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0])

    Reference: Bahdanau, Cho, Bengio 2014, arXiv:1409.0473.
    """

    query_size: int
    memory_size: int
    hidden_size: int
    merge: Callable[[Any, Any], Any] = concatenate
    w_init: Any = Glorot()

    def __post_init__(self):
        self._check_fields("hidden_size")

    def init(self, key):
        k_q, k_k, k_v = jax.random.split(key, 3)
        hidden, dtype = self.hidden_size, float_dtype()
        return AdditiveAttentionParams(
            self.w_init(k_q, (self.query_size, hidden), dtype),
            self.w_init(k_k, (self.memory_size, hidden), dtype),
            self.w_init(k_v, (hidden, 1), dtype)[:, 0],
        )

    def score(self, params, keys, q):
        return dot(jnp.tanh(q[None, :] + keys), params.v)

    def _scores(self, params, keys, queries):
        # on a CPU, for T = S = 30, B = 64, h = 256: at most half the time of all steps at
        # once, and an eighth of the memory
        over_batch = jax.checkpoint(jax.vmap(partial(self.score, params)))
        return jax.lax.map(partial(over_batch, keys), queries)
