"""Dropout between layers, with a new mask at every step or one mask per sequence.

Srivastava et al., JMLR 15 (2014); Gal & Ghahramani 2016, arXiv:1512.05287.
"""

import abc
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from .._arrays import float_dtype
from .._layer import Layer
from .._validate import check_rate


@dataclass(frozen=True)
class _Dropout(Layer):
    """Base of both kinds: `y = mask x / (1 - rate)`, or the identity without a key."""

    rate: float

    def __post_init__(self):
        check_rate(type(self).__name__, self.rate)

    @abc.abstractmethod
    def mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the mask for inputs of a given shape `(T, B, ...)`."""

    def init(self, key):
        return ()

    def initial_state(self, params):
        return ()

    def step(self, params, state, x):
        return state, _as_floats(x)

    def unroll(self, params, state, xs, context):
        xs = _as_floats(xs)
        if context.key is None or self.rate == 0:
            return state, xs
        kept = jax.random.bernoulli(
            context.key, 1 - self.rate, self.mask_shape(xs.shape)
        )
        scale = jnp.asarray(1 / (1 - self.rate), xs.dtype)
        return state, jnp.where(kept, xs * scale, jnp.zeros_like(xs))


def _as_floats(x):
    """Integers and booleans converted to floats, because dropout scales them."""
    inexact = jnp.issubdtype(jnp.result_type(x), jnp.inexact)
    return x if inexact else jnp.asarray(x, float_dtype())


@dataclass(frozen=True)
class Dropout(_Dropout):
    """Dropout with a new mask at every step: `y = mask x / (1 - rate)`.

    Random only if `unroll` gets a key; otherwise, and in `step`, it is the identity.

    Args:
        rate: the fraction of features to drop, at least 0 and below 1.

    Raises:
        TypeError: if the rate is not a number.
        ValueError: if the rate is not in [0, 1).

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> xs = jnp.ones((5, 2, 3))
        >>> _, ys = jaxrnn.unroll(jaxrnn.Dropout(0.5), (), xs, key=jax.random.key(0))
        >>> sorted(set(ys.ravel().tolist()))
        [0.0, 2.0]

    Reference: Srivastava et al., JMLR 15 (2014) 1929-1958.
    """

    def mask_shape(self, shape):
        return shape


@dataclass(frozen=True)
class VariationalDropout(_Dropout):
    """Dropout with one mask for the whole sequence: `y = mask x / (1 - rate)`.

    Random only if `unroll` gets a key; otherwise, and in `step`, it is the identity.

    Args:
        rate: the fraction of features to drop, at least 0 and below 1.

    Raises:
        TypeError: if the rate is not a number.
        ValueError: if the rate is not in [0, 1).

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> xs, dropout = jnp.ones((5, 2, 3)), jaxrnn.VariationalDropout(0.5)
        >>> _, ys = jaxrnn.unroll(dropout, (), xs, key=jax.random.key(0))
        >>> bool((ys == ys[0]).all())
        True

    Reference: Gal & Ghahramani 2016, arXiv:1512.05287.
    """

    def mask_shape(self, shape):
        return 1, *shape[1:]
