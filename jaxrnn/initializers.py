"""Initializers of weights and biases: constants, so that cells that name them compare equal.

A weight initializer is called `(key, shape, dtype)` for one gate's block at a time, so
that an orthogonal one is orthogonal gate by gate. A bias initializer is called
`(key, gates, size, dtype)` for all gates, because some tie gates to each other; `gates`
are their roles: "input" writes to the memory, "forget" keeps it.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._layer import Static


@dataclass(frozen=True)
class Glorot(Static):
    """U(-a, a) with a = sqrt(6 / (fan_in + fan_out)). Glorot & Bengio, AISTATS 2010."""

    def __call__(self, key, shape, dtype):
        return jax.nn.initializers.glorot_uniform()(key, shape, dtype)


@dataclass(frozen=True)
class Orthogonal(Static):
    """A random orthogonal matrix, times `scale`. Saxe et al. 2014, arXiv:1312.6120."""

    scale: float = 1.0

    def __call__(self, key, shape, dtype):
        return jax.nn.initializers.orthogonal(self.scale)(key, shape, dtype)


@dataclass(frozen=True)
class Identity(Static):
    """The identity, times `scale`: IRNN with a ReLU. Le et al. 2015, arXiv:1504.00941."""

    scale: float = 1.0

    def __call__(self, key, shape, dtype):
        del key
        return self.scale * jnp.eye(shape[0], shape[1], dtype=dtype)


@dataclass(frozen=True)
class Uniform(Static):
    """U(low, high): every entry drawn evenly between two bounds."""

    low: float
    high: float

    def __call__(self, key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, self.low, self.high)


@dataclass(frozen=True)
class SmallNormal(Static):
    """N(0, 4 / (5 H)), H the last axis: for recurrent vectors.

    Danieli et al. 2025, arXiv:2510.21450.
    """

    def __call__(self, key, shape, dtype):
        return jax.random.normal(key, shape, dtype) * (2 / math.sqrt(5 * shape[-1]))


@dataclass(frozen=True)
class TorchUniform(Static):
    """U(-1/sqrt(H), 1/sqrt(H)) for weights and biases alike, as PyTorch's RNNs have it.

    H is the number of hidden units, the last axis of every block. PyTorch adds two such
    biases where there is one here.
    """

    def __call__(self, key, shape, dtype):
        bound = 1 / math.sqrt(shape[-1])
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    def bias(self, key, gates, size, dtype):
        return self(key, (len(gates), size), dtype).reshape(-1)


@dataclass(frozen=True)
class ForgetBias(Static):
    """`value` for the forget gate, 0 elsewhere. Gers et al. 2000; Jozefowicz et al. 2015.

    In a cell without a forget gate, where the input gate decides what is kept, that gate
    gets `-value`.
    """

    value: float = 1.0

    def bias(self, key, gates, size, dtype):
        del key
        keeps = {"forget": self.value}
        if "forget" not in gates:
            keeps = {"input": -self.value}
        row = [keeps.get(gate, 0.0) for gate in gates]
        return jnp.repeat(jnp.asarray(row, dtype), size)


@dataclass(frozen=True)
class Chrono(Static):
    """Memories of 1 to `longest` steps: b_forget ~ log U(1, longest - 1), b_input = -b_forget.

    Tallec & Ollivier 2018, arXiv:1804.11188.

    Args:
        longest: the longest dependency expected, in steps; above 2.
    """

    longest: float

    def __post_init__(self):
        if not self.longest > 2:
            raise ValueError(
                f"Chrono(longest={self.longest!r}): the longest dependency, in steps, "
                "must be above 2."
            )

    def bias(self, key, gates, size, dtype):
        steps = jax.random.uniform(key, (size,), dtype, 1.0, self.longest - 1.0)
        values = {"forget": jnp.log(steps), "input": -jnp.log(steps)}
        rest = jnp.zeros_like(steps)
        return jnp.concatenate([values.get(gate, rest) for gate in gates])


@dataclass(frozen=True)
class ForgetRange(Static):
    """Evenly from `first` to `last` over the units of the forget gate, 0 elsewhere.

    A memory for each time scale: 3 to 6 in xLSTM (Beck et al. 2024, arXiv:2405.04517). In a
    cell without a forget gate, the input gate gets the values with their sign reversed.
    """

    first: float
    last: float

    def bias(self, key, gates, size, dtype):
        del key
        values = jnp.linspace(self.first, self.last, size, dtype=dtype)
        return _on_the_forget_gate(values, gates)


@dataclass(frozen=True)
class ForgetPowerLaw(Static):
    """5 - 12 (k / (H - 1))**power for the forget gate, k = 0 ... H - 1, and 0 elsewhere.

    Long memories for few units, short ones for most. `power` is 0.3 in the first layer of
    a deep network and grows to 1.6 in the last. Beck et al. 2024, arXiv:2405.04517.
    """

    power: float = 0.3

    def bias(self, key, gates, size, dtype):
        del key
        share = jnp.linspace(0.0, 1.0, size, dtype=dtype)
        return _on_the_forget_gate(5 - 12 * share**self.power, gates)


def _on_the_forget_gate(values: Array, gates: tuple[str, ...]) -> Array:
    """The bias of all gates that is `values` where the memory is kept, and 0 elsewhere."""
    keeps = {"forget": values} if "forget" in gates else {"input": -values}
    rest = jnp.zeros_like(values)
    return jnp.concatenate([keeps.get(gate, rest) for gate in gates])
