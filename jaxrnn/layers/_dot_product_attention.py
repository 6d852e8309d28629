"""Dot-product attention. Luong, Pham, Manning 2015, arXiv:1508.04025."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from .._arrays import float_dtype
from ..initializers import Glorot
from ._attention import Attention, dot
from ._bidirectional import concatenate


class DotProductAttentionParams(NamedTuple):
    """Parameters of `DotProductAttention`."""

    w_q: Float[Array, "x k"]
    w_k: Float[Array, "m k"]


@dataclass(frozen=True)
class DotProductAttention(Attention):
    """Attention over a fixed memory, with scaled dot products of queries and keys as scores.

        e_ts = (W_q x_t) . (W_k m_s) / sqrt(size)
        a_ts = softmax_s(e_ts) over valid s,    c_t = sum_s a_ts m_s,    y_t = merge(x_t, c_t)

    The state is the memory. It has no initial value: make it with `memory`, and pass it to
    `unroll` as this layer's part of the state. Steps and resets leave it unchanged. If its
    length is 0, the context is zero. All steps are computed at once, with a few matmuls.

    Args:
        query_size: features of x.
        memory_size: features of m, the values of the memory.
        size: features of the projected queries and keys.
        merge: the function `merge(x, c)` of inputs and contexts, `(..., features)`. The
            default concatenates their features; `lambda x, c: c` gives the context alone.
        w_init: initializer of the weights.

    Raises:
        TypeError: if a size is not an integer, or if `merge` or `w_init` is not callable.
        ValueError: if a size is below 1.

    Example:
        An encoder in both directions, and a decoder that starts from its final state and
        attends to its outputs.

        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> encoder = jaxrnn.Stack(
        ...     (jaxrnn.Embedding(20, 8), jaxrnn.Bidirectional(jaxrnn.LSTM(8, 16)))
        ... )
        >>> attention = jaxrnn.DotProductAttention(query_size=32, memory_size=32, size=16)
        >>> decoder = jaxrnn.Stack(
        ...     (
        ...         jaxrnn.Embedding(30, 8),
        ...         jaxrnn.LSTM(8, 32),
        ...         attention,
        ...         jaxrnn.Dense(32 + 32, 30),
        ...     )
        ... )
        >>> p_encoder = encoder.init(jax.random.key(0))
        >>> p_decoder = decoder.init(jax.random.key(1))

        >>> sources, lengths = jnp.zeros((7, 2), int), jnp.array([7, 4])
        >>> state, values = jaxrnn.unroll(encoder, p_encoder, sources, lengths=lengths)
        >>> final = jax.tree.map(jaxrnn.layers.concatenate, *state[1])  # of both directions
        >>> memory = attention.memory(p_decoder[2], values, lengths)
        >>> start = ((), final, memory, ())  # one part for each layer of the decoder

        >>> targets = jnp.zeros((5, 2), int)
        >>> state, ys = jaxrnn.unroll(decoder, p_decoder, targets, start)
        >>> ys.shape
        (5, 2, 30)

    Reference: Luong, Pham, Manning 2015, arXiv:1508.04025; the factor 1 / sqrt(size):
    Vaswani et al. 2017, arXiv:1706.03762.
    """

    query_size: int
    memory_size: int
    size: int
    merge: Callable[[Any, Any], Any] = concatenate
    w_init: Any = Glorot()

    def __post_init__(self):
        self._check_fields("size")

    def init(self, key):
        k_q, k_k = jax.random.split(key)
        dtype = float_dtype()
        return DotProductAttentionParams(
            self.w_init(k_q, (self.query_size, self.size), dtype),
            self.w_init(k_k, (self.memory_size, self.size), dtype),
        )

    def score(self, params, keys, q):
        return dot(keys, q) / self.size**0.5
