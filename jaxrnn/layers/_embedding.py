"""Vectors for the symbols of a vocabulary."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import float_dtype
from .._validate import check_sizes
from ._stepwise import Stepwise


class EmbeddingParams(NamedTuple):
    """Parameters of `Embedding`."""

    table: Float[Array, "v y"]


@dataclass(frozen=True)
class Embedding(Stepwise):
    """A vector for each symbol: `y = table[x]`, for integers x from 0 to vocabulary - 1.

    The input sequences are `(T, B)` integers. A symbol outside the vocabulary gives NaN,
    so that the mistake shows. The table starts in N(0, 1 / output_size).

    Args:
        vocabulary: the number of symbols.
        output_size: features of y.

    Raises:
        TypeError: if a size is not an integer, or if the symbols are not integers.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> model = jaxrnn.Stack((jaxrnn.Embedding(256, 8), jaxrnn.GRU(8, 4)))
        >>> params = model.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(model, params, jnp.zeros((5, 2), int))
        >>> ys.shape
        (5, 2, 4)
    """

    vocabulary: int
    output_size: int

    def __post_init__(self):
        check_sizes(self, "vocabulary", "output_size")

    def init(self, key):
        shape = (self.vocabulary, self.output_size)
        table = jax.random.normal(key, shape, float_dtype()) * self.output_size**-0.5
        return EmbeddingParams(table)

    def apply(self, params, x):
        if not jnp.issubdtype(jnp.result_type(x), jnp.integer):
            raise TypeError(
                f"Embedding looks up integers, but was given {jnp.result_type(x)}: convert "
                "the symbols to an integer dtype."
            )
        # at least 32 bits, since the bound may not fit into the symbols' own dtype
        x = jnp.asarray(x)
        x = x.astype(jnp.int32) if x.itemsize < 4 else x
        inside = (x >= 0) & (x < self.vocabulary)  # a negative index would wrap
        return jnp.where(inside, params.table[x], jnp.nan)
