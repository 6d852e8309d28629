"""Gated recurrent unit. Cho et al. 2014, arXiv:1406.1078."""

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


class GRUParams(NamedTuple):
    """Parameters of `GRU`: gates r, z, n, concatenated; `b_n` only with `reset_after`."""

    w: Float[Array, "x g"]
    u: Float[Array, "h g"]
    b: Float[Array, "g"] | None
    b_n: Float[Array, "h"] | None


@dataclass(frozen=True)
class GRU(Cell[GRUParams, Float[Array, "h"]]):
    """Gated recurrent unit, with the reset gate after or before the matmul.

        r = sigmoid(W_r x + U_r h + b_r)
        z = sigmoid(W_z x + U_z h + b_z)
        n = tanh(W_n x + b + r (U_n h + b_n))     reset after: PyTorch, cuDNN
        n = tanh(W_n x + b + U_n (r h))           reset before: the paper's final version
        h' = (1 - z) n + z h

    The surprise: z keeps the old state, as in the paper and in PyTorch; in Chung et al.
    2014 (arXiv:1412.3555), and in many texts since, z writes.

    The authors' code was not compared. Agrees with PyTorch's `nn.GRU` except for the
    initial parameters. The state has the dtype of the parameters, as in cuDNN (see `LSTM`).

    Args:
        input_size: features of x.
        hidden_size: units of h, the state and the output.
        reset_after: whether the reset gate acts after the matmul with U_n, which needs one
            matmul per step, or before it, which needs two.
        w_init, u_init, b_init: initializers of W, U and b; b_n starts at zero. The roles
            of the gates are "reset", "forget" (z) and "candidate"; the biases are zero by
            default.
        use_bias: False for a cell without b and b_n.
        activation: replaces tanh: Keras' `activation`, Flax's `activation_fn`, ONNX's g.
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
        >>> cell = jaxrnn.GRU(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape, state.shape
        ((5, 2, 4), (2, 4))

    Reference: Cho et al. 2014, arXiv:1406.1078 (reset after: its first version).
    """

    input_size: int
    hidden_size: int
    reset_after: bool = True
    w_init: Any = Glorot()
    u_init: Any = Orthogonal()
    b_init: Any = ForgetBias(0.0)
    use_bias: bool = True
    activation: Callable[[Array], Array] = jnp.tanh
    gate_activation: Callable[[Array], Array] = sigmoid
    clip: float | None = None

    def __post_init__(self):
        check_dense(self)
        check_activations(self, "activation", "gate_activation")

    def init(self, key):
        w, u, b = dense_gates(self, key, "reset", "forget", "candidate")
        has_b_n = self.reset_after and self.use_bias
        b_n = jnp.zeros(self.hidden_size, w.dtype) if has_b_n else None
        return GRUParams(w, u, b, b_n)

    def initial_state(self, params):
        return jnp.zeros(self.hidden_size, params.w.dtype)

    def project(self, params, x):
        return add_bias(x @ params.w, params.b)

    def recur(self, params, state, z):
        gate = clipped(self.gate_activation, self.clip)
        activation = clipped(self.activation, self.clip)
        step = self._after if self.reset_after else self._before
        return step(params, state, z, gate, activation)

    def _after(self, params, h, z, gate, activation):
        x_r, x_z, x_n = jnp.split(z, 3)
        h_r, h_z, h_n = jnp.split(h @ params.u, 3)
        r, z = gate(x_r + h_r), gate(x_z + h_z)
        n = activation(x_n + r * add_bias(h_n, params.b_n))
        return (1 - z) * n + z * h

    def _before(self, params, h, z, gate, activation):
        size = self.hidden_size
        x_rz, x_n = z[: 2 * size], z[2 * size :]
        u_rz, u_n = params.u[:, : 2 * size], params.u[:, 2 * size :]
        r, z = jnp.split(gate(x_rz + h @ u_rz), 2)
        n = activation(x_n + (r * h) @ u_n)
        return (1 - z) * n + z * h
