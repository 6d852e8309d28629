"""The networks, each with a remedy or without, and their loss."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax

import jaxrnn
from jaxrnn import initializers, training

from .data import BITS, Memories


INPUTS = BITS + 1


class Params(NamedTuple):
    """Parameters of a recurrent network, and of its readout."""

    cell: Any
    readout: Any


Penalty = Callable[[Any, Any, jax.Array], jax.Array]
"""`penalty(cell, params, ys)` of the outputs `(T, B, features)` of the cell."""


@dataclass(frozen=True)
class Case:
    """One network, and what is done about its gradients.

    Attributes:
        network: its name.
        cell: builds the recurrent layer from the number of units.
        remedy: its name; empty for none.
        penalty: added to the loss in every update.
        max_norm: the global norm above which the gradient is scaled down.
        flossed: whether gradient flossing comes before training.
    """

    network: str
    cell: Callable[[int], jaxrnn.Cell]
    remedy: str = ""
    penalty: Penalty | None = field(default=None, repr=False)
    max_norm: float | None = None
    flossed: bool = False

    @property
    def name(self) -> str:
        """The name of the training."""
        words = f"{self.network} {self.remedy}".replace(",", "").split()
        return "-".join(words).lower()


SMALL, LARGE = "Elman, small weights", "Elman, large weights"


def elman(scale: float) -> Callable[[int], jaxrnn.Cell]:
    """A tanh network whose recurrent weights are `scale` times an orthogonal matrix."""
    weights = initializers.Orthogonal(scale)
    return lambda units: jaxrnn.Elman(INPUTS, units, u_init=weights)


def irnn(units: int) -> jaxrnn.Cell:
    """A ReLU network that starts with the identity as its recurrent weights."""
    identity = initializers.Identity()
    return jaxrnn.Elman(INPUTS, units, activation=jax.nn.relu, u_init=identity)


def lstm(forget_bias: float) -> Callable[[int], jaxrnn.Cell]:
    """An LSTM whose forget gates start with this bias."""
    bias = initializers.ForgetBias(forget_bias)
    return lambda units: jaxrnn.LSTM(INPUTS, units, b_init=bias)


def orthogonal(cell: Any, params: Any, ys: Any) -> jax.Array:
    """Keeps the recurrent weights close to an orthogonal matrix."""
    return training.soft_orthogonality(params.u)


def steady(cell: Any, params: Any, ys: Any) -> jax.Array:
    """Keeps the norm of the state from changing between steps."""
    return training.norm_stabilizer(ys)


NETWORKS = (
    Case(SMALL, elman(0.5)),
    Case(LARGE, elman(2.0)),
    Case("IRNN", irnn),
    Case("LSTM, forget bias 0", lstm(0.0)),
    Case("LSTM, forget bias 1", lstm(1.0)),
    Case("LRU", lambda units: jaxrnn.LRU(INPUTS, units, r_min=0.9)),
)
REMEDIES = (
    Case(SMALL, elman(0.5), "flossing", flossed=True),
    Case(SMALL, elman(0.5), "orthogonality penalty", orthogonal),
    Case(LARGE, elman(2.0), "clipped gradient", max_norm=1.0),
    Case(
        LARGE,
        lambda units: jaxrnn.ClipGradient(elman(2.0)(units), max_norm=0.1),
        "clipped at each step",
    ),
    Case(LARGE, elman(2.0), "norm stabilizer", steady),
    Case(LARGE, elman(2.0), "flossing", flossed=True),
)


@dataclass(frozen=True)
class Rememberer:
    """A recurrent layer and a readout of its last output."""

    cell: Any
    readout: jaxrnn.Dense

    def init(self, key: jax.Array) -> Params:
        """Random parameters."""
        keys = jax.random.split(key)
        return Params(self.cell.init(keys[0]), self.readout.init(keys[1]))

    def outputs(self, params: Params, xs: Any) -> jax.Array:
        """The outputs of the recurrent layer, `(T, B, features)`."""
        return jaxrnn.unroll(self.cell, params.cell, xs)[1]

    def error(self, params: Params, ys: jax.Array, bits: Any) -> jax.Array:
        """The squared error at the last step."""
        _, guess = jaxrnn.unroll(self.readout, params.readout, ys[-1:])
        return training.squared_error(guess, bits[None])


def rememberer(cell: jaxrnn.Cell, xs: Any) -> Rememberer:
    """A network for this layer, whose readout has its output's size."""
    params = jax.eval_shape(cell.init, jax.random.key(0))
    ys = jax.eval_shape(lambda p: jaxrnn.unroll(cell, p, xs)[1], params)
    return Rememberer(cell, jaxrnn.Dense(ys.shape[-1], BITS))


def make_loss(model: Rememberer, penalty: Penalty | None, weight: float) -> Any:
    """The loss for `common.fit`."""

    def loss(params: Params, carry: Any, key: Any, batch: Memories) -> Any:
        ys = model.outputs(params, batch.xs)
        value = model.error(params, ys, batch.bits)
        if penalty is not None:
            value += weight * penalty(model.cell, params.cell, ys)
        return value, carry

    return loss
