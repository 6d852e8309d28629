"""Language models with four recurrences, all sized to the same number of parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

import jaxrnn

from ..common import count
from ..common.text import VOCABULARY


EMBEDDING = 64
BLOCKS = 3
"""Blocks of a model with a linear recurrence."""


class NormParams(NamedTuple):
    """Parameters of `Norm`."""

    scale: jax.Array


@dataclass(frozen=True)
class Norm(jaxrnn.Stepwise):
    """Root-mean-square normalization: y = scale x / rms(x). Zhang & Sennrich 2019."""

    size: int

    def init(self, key):
        return NormParams(jnp.ones(self.size))

    def apply(self, params, x):
        mean_square = jnp.mean(x * x, axis=-1, keepdims=True)
        return params.scale * x * jax.lax.rsqrt(mean_square + 1e-6)


@dataclass(frozen=True)
class Gelu(jaxrnn.Stepwise):
    """The activation of the blocks: y = gelu(x)."""

    def init(self, key):
        return ()

    def apply(self, params, x):
        return jax.nn.gelu(x)


def gated(cell: Callable[[int, int], jaxrnn.Layer]) -> Callable[..., jaxrnn.Stack]:
    """A model whose recurrence sees the state: one layer does."""

    def build(width: int, dropout: float) -> jaxrnn.Stack:
        return jaxrnn.Stack(
            (
                jaxrnn.Embedding(VOCABULARY, EMBEDDING),
                cell(EMBEDDING, width),
                jaxrnn.Dropout(dropout),
                jaxrnn.Dense(width, VOCABULARY),
            )
        )

    return build


def linear(cell: Callable[[int], jaxrnn.Layer]) -> Callable[..., jaxrnn.Stack]:
    """A model whose recurrence is linear: blocks with dense layers between, as in Griffin."""

    def block(width: int, dropout: float) -> tuple[jaxrnn.Layer, ...]:
        dense, drop = jaxrnn.Dense(width, width), jaxrnn.Dropout(dropout)
        up, down = jaxrnn.Dense(width, 2 * width), jaxrnn.Dense(2 * width, width)
        mix = jaxrnn.Stack((Norm(width), dense, cell(width), dense, drop))
        apart = jaxrnn.Stack((Norm(width), up, Gelu(), down, drop))
        return jaxrnn.Residual(mix), jaxrnn.Residual(apart)

    def build(width: int, dropout: float) -> jaxrnn.Stack:
        blocks = block(width, dropout) * BLOCKS
        embedding = jaxrnn.Embedding(VOCABULARY, width)
        end = (Norm(width), jaxrnn.Dense(width, VOCABULARY))
        return jaxrnn.Stack((embedding, *blocks, *end))

    return build


BUILDERS: dict[str, Callable[..., jaxrnn.Stack]] = {
    "LSTM": gated(jaxrnn.LSTM),
    "GRU": gated(jaxrnn.GRU),
    "MinGRU": linear(lambda width: jaxrnn.MinGRU(width, width)),
    "RGLRU": linear(lambda width: jaxrnn.RGLRU(width, heads=width // 16)),
}


def parameters(model: jaxrnn.Layer) -> int:
    """The number of parameters, without making them."""
    return count(jax.eval_shape(model.init, jax.random.key(0)))


def make_model(cell: str, target: int, dropout: float) -> jaxrnn.Stack:
    """The widest model, in steps of 16 units, that has at most `target` parameters."""
    build = BUILDERS[cell]
    low, high = 1, 2048 // 16
    while low < high:  # bisection: the number of parameters grows with the width
        middle = (low + high + 1) // 2
        fits = parameters(build(16 * middle, dropout)) <= target
        low, high = (middle, high) if fits else (low, middle - 1)
    return build(16 * low, dropout)
