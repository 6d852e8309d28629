"""Long short-term memory. Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.nn import sigmoid
from jaxtyping import Array, Float

from .._arrays import add_bias
from .._layer import Cell
from ..initializers import ForgetBias, Glorot, Orthogonal
from ._activation import check_activations, clipped
from ._common import check_dense, dense_gates


class LSTMParams(NamedTuple):
    """Parameters of `LSTM`: gates i, f, g, o, concatenated; no f if `coupled`."""

    w: Float[Array, "x g"]
    u: Float[Array, "h g"]
    b: Float[Array, "g"] | None


class LSTMState(NamedTuple):
    """State of the LSTM family."""

    h: Float[Array, "*B h"]
    c: Float[Array, "*B h"]


@dataclass(frozen=True)
class LSTM(Cell[LSTMParams, LSTMState]):
    """Long short-term memory with a forget gate.

        i, f, g, o = split(W x + U h + b)
        c' = sigmoid(f) c + sigmoid(i) tanh(g)
        h' = sigmoid(o) tanh(c')

    The gates have the order of PyTorch and cuDNN. There is one bias; PyTorch adds two. The
    surprise: the forget gate's bias starts at 1, unlike PyTorch's (if coupled, the input
    gate's bias starts at -1).

    No authors' code is known (1997). Agrees with PyTorch's `nn.LSTM` except for the initial
    parameters. The state has the dtype of the parameters, as in cuDNN. In bfloat16 a forget
    gate above 0.998 (a bias above 6.2) rounds to 1, and its memory does not fade.

    Args:
        input_size: features of x.
        hidden_size: units of h, the output, and of c.
        coupled: ties the gates by `sigmoid(f) = 1 - sigmoid(i)`; three gates remain.
        w_init, u_init, b_init: initializers of W, U and b;
            `b_init=jaxrnn.initializers.Chrono(1000)` for dependencies of up to 1000 steps.
        use_bias: False for a cell without b.
        activation: replaces both tanh: Keras' `activation`, Flax's `activation_fn`,
            ONNX's g and h.
        gate_activation: replaces the sigmoid, for example by `jax.nn.hard_sigmoid`: Keras'
            `recurrent_activation`, Flax's `gate_fn`, ONNX's f.
        clip: bounds every input of an activation to [-clip, clip], as ONNX's `clip` does;
            None for no bounds.

    Raises:
        TypeError: if a size is not an integer, if an activation or an initializer is not
            callable, or if `clip` is not a number.
        ValueError: if a size is below 1, or if `clip` is not above 0.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.LSTM(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, state.c.shape
        ((5, 2, 4), (2, 4))

    Reference: Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; Gers,
    Schmidhuber, Cummins 2000, doi:10.1162/089976600300015015. Coupled gates: Greff et al.
    2017, arXiv:1503.04069.
    """

    input_size: int
    hidden_size: int
    coupled: bool = False
    w_init: Any = Glorot()
    u_init: Any = Orthogonal()
    b_init: Any = ForgetBias()
    use_bias: bool = True
    activation: Callable[[Array], Array] = jnp.tanh
    gate_activation: Callable[[Array], Array] = sigmoid
    clip: float | None = None

    def __post_init__(self):
        check_dense(self)
        check_activations(self, "activation", "gate_activation")

    def init(self, key):
        gates = ["input", "forget", "candidate", "output"]
        if self.coupled:
            gates.remove("forget")
        return LSTMParams(*dense_gates(self, key, *gates))

    def initial_state(self, params):
        h, dtype = self.hidden_size, params.w.dtype
        return LSTMState(jnp.zeros(h, dtype), jnp.zeros(h, dtype))

    def project(self, params, x):
        return add_bias(x @ params.w, params.b)

    def recur(self, params, state, z):
        gate = clipped(self.gate_activation, self.clip)
        activation = clipped(self.activation, self.clip)
        gates = z + state.h @ params.u
        if self.coupled:
            i, g, o = jnp.split(gates, 3)
            keep = self._complement(gate, i)
        else:
            i, f, g, o = jnp.split(gates, 4)
            keep = gate(f)
        c = keep * state.c + gate(i) * activation(g)
        return LSTMState(gate(o) * activation(c), c)

    def _complement(self, gate, i):
        """1 - gate(i), for the sigmoid without cancellation where gate(i) is close to 1."""
        return gate(-i) if self.gate_activation is sigmoid else 1 - gate(i)

    def readout(self, params, state, z):
        return state.h
