"""Independently recurrent network. Li, Li, Cook, Zhu, Gao 2018, arXiv:1803.04831."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import add_bias, float_dtype
from .._layer import Cell
from .._validate import check_callable
from ..initializers import ForgetBias, Glorot, Identity, Orthogonal, Uniform
from ._common import biases, blocks, check_dense


class IndRNNParams(NamedTuple):
    """Parameters of `IndRNN`."""

    w: Float[Array, "x h"]
    u: Float[Array, "h"]
    b: Float[Array, "h"] | None


@dataclass(frozen=True)
class IndRNN(Cell[IndRNNParams, Float[Array, "h"]]):
    """Independently recurrent network: each unit sees only its own past.

        h' = activation(W x + u h + b),    u h element by element

    The paper keeps |u| <= 2**(1 / T) for sequences of T steps; u starts in U(0, 1).

    Agrees with the authors' code, which contains only the recurrent part: ReLU, and u from
    U(0, 1). The state has the dtype of the parameters.

    Args:
        input_size: features of x.
        hidden_size: units of h, the state and the output.
        activation: `jax.nn.relu`, as in the paper, or another element-wise function.
        w_init, u_init, b_init: initializers of W, u and b.
        use_bias: False for a cell without b.

    Raises:
        TypeError: if a size is not an integer, or if an activation or an initializer is
            not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.IndRNN(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> state, ys = jaxrnn.unroll(cell, params, jnp.ones((5, 2, 3)))
        >>> ys.shape
        (5, 2, 4)

    Reference: Li et al. 2018, arXiv:1803.04831.
    """

    input_size: int
    hidden_size: int
    activation: Callable[[Array], Array] = jax.nn.relu
    w_init: Any = Glorot()
    u_init: Any = Uniform(0.0, 1.0)
    b_init: Any = ForgetBias(0.0)
    use_bias: bool = True

    def __post_init__(self):
        check_dense(self)
        check_callable(self, "activation", "give a function, such as jax.nn.relu.")
        if isinstance(self.u_init, Glorot | Orthogonal | Identity):
            raise TypeError(
                f"IndRNN(u_init={self.u_init}): u is a vector, but this initializer only "
                "makes matrices; give jaxrnn.initializers.Uniform(0.0, 1.0)."
            )

    def init(self, key):
        h, dtype = self.hidden_size, float_dtype()
        k_w, k_u, k_b = jax.random.split(key, 3)
        return IndRNNParams(
            w=blocks(self.w_init, k_w, (self.input_size, h), 1),
            u=self.u_init(k_u, (h,), dtype),
            b=biases(self, k_b, "candidate"),
        )

    def initial_state(self, params):
        return jnp.zeros(self.hidden_size, params.w.dtype)

    def project(self, params, x):
        return add_bias(x @ params.w, params.b)

    def recur(self, params, state, z):
        return self.activation(z + params.u * state)
