"""Initializers of weights and biases.

They are compile-time constants that compare by value, so that equal cells stay equal.

A weight initializer is called with `(key, shape, dtype)` for the block of each gate
separately, so that an orthogonal initializer is orthogonal within each gate. The method
`bias` of a bias initializer is called once with `(key, gates, size, dtype)` for all gates,
because some initializers tie gates to each other. `gates` are the roles of the gates:
"input" writes to the memory, "forget" keeps it.
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
    """U(low, high): uniform between two bounds."""

    low: float
    high: float

    def __call__(self, key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, self.low, self.high)


@dataclass(frozen=True)
class SmallNormal(Static):
    """N(0, 4 / (5 H)) for recurrent vectors, where H is the size of the last axis.

    Danieli et al. 2025, arXiv:2510.21450.
    """

    def __call__(self, key, shape, dtype):
        return jax.random.normal(key, shape, dtype) * (2 / math.sqrt(5 * shape[-1]))


@dataclass(frozen=True)
class TorchUniform(Static):
    """U(-1/sqrt(H), 1/sqrt(H)) for weights and biases, as in PyTorch's RNNs.

    H is the number of hidden units, the last axis of every block. PyTorch adds two such
    biases; the cells of this library have one.
    """

    def __call__(self, key, shape, dtype):
        bound = 1 / math.sqrt(shape[-1])
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    def bias(self, key, gates, size, dtype):
        return self(key, (len(gates), size), dtype).reshape(-1)


@dataclass(frozen=True)
class ForgetBias(Static):
    """`value` for the forget gate, 0 elsewhere. Gers et al. 2000; Jozefowicz et al. 2015.

    In a cell without a forget gate, the input gate decides what is kept and gets `-value`.
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
        longest: the longest expected dependency, in steps; above 2.
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
    """Evenly spaced from `first` to `last` over the units of the forget gate, 0 elsewhere.

    The units get different time scales; xLSTM uses 3 to 6 (Beck et al. 2024,
    arXiv:2405.04517). In a cell without a forget gate, the input gate gets the negated
    values.
    """

    first: float
    last: float

    def bias(self, key, gates, size, dtype):
        del key
        values = jnp.linspace(self.first, self.last, size, dtype=dtype)
        return _for_forget_gate(values, gates)


@dataclass(frozen=True)
class ForgetPowerLaw(Static):
    """5 - 12 (k / (H - 1))**power for the forget gate, k = 0 ... H - 1, and 0 elsewhere.

    The smaller `power`, the fewer units have a long memory: 0.3 in the first layer of a
    deep network, growing to 1.6 in the last. Beck et al. 2024, arXiv:2405.04517.
    """

    power: float = 0.3

    def bias(self, key, gates, size, dtype):
        del key
        share = jnp.linspace(0.0, 1.0, size, dtype=dtype)
        return _for_forget_gate(5 - 12 * share**self.power, gates)


def _for_forget_gate(values: Array, gates: tuple[str, ...]) -> Array:
    """The bias of all gates: `values` for the gate that keeps the memory, else 0."""
    keeps = {"forget": values} if "forget" in gates else {"input": -values}
    rest = jnp.zeros_like(values)
    return jnp.concatenate([keeps.get(gate, rest) for gate in gates])
