"""Continuous-time recurrent network. Funahashi & Nakamura 1993; Beer 1995."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import add_bias, state_dtype
from .._layer import Cell
from .._validate import check_callable
from ..initializers import ForgetBias, Glorot, Orthogonal, Uniform
from ._common import check_dense, dense_gates
from ._elapsed import with_elapsed


class CTRNNParams(NamedTuple):
    """Parameters of `CTRNN`: the weights, and the logarithms of the time constants."""

    w: Float[Array, "x h"]
    u: Float[Array, "h h"]
    b: Float[Array, "h"] | None
    log_tau: Float[Array, "h"]


@dataclass(frozen=True)
class CTRNN(Cell[CTRNNParams, Float[Array, "h"]]):
    """Continuous-time recurrent network: leaky units, each with a time constant.

        tau dh/dt = -h + activation(W x + U h + b)

        alpha = 1 - exp(-dt / tau)
        h'    = (1 - alpha) h + alpha activation(W x + U h + b)

    The cell computes the last two lines: the exponential Euler step, which solves the
    first line with the activation held constant for dt. It is stable for every dt and tau;
    the plain Euler step, with alpha = dt / tau, needs dt < 2 tau. The state is at least
    float32, even if the parameters are bfloat16, in which the steps of a slow unit would
    be rounded away.

    Inputs are `(T, B, features)` with dt = 1 between steps, or a pair
    `(features, dt)` with dt `(T, B)`, positive, in the unit of tau, for samples that are
    not evenly spaced.

    Differs from Beer's code in: the exponential Euler step, which changes the output by
    0.37 of its size for random parameters; and the activation, which acts on the sum of
    the inputs, in his code on each term inside the sum.

    Args:
        input_size: features of x.
        hidden_size: units of h, the state and the output.
        activation: `jnp.tanh`, or another element-wise function.
        w_init, u_init, b_init: initializers of W, U and b.
        tau_init: initializer of tau, whose logarithm is the parameter.
        use_bias: False for a cell without b.

    Raises:
        TypeError: if a size is not an integer, or if an activation or an initializer is
            not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.CTRNN(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> xs, dt = jnp.ones((5, 2, 3)), jnp.full((5, 2), 0.1)
        >>> state, ys = jaxrnn.unroll(cell, params, (xs, dt))
        >>> ys.shape
        (5, 2, 4)

    Reference: Funahashi & Nakamura 1993, doi:10.1016/S0893-6080(05)80125-X; Beer 1995,
    doi:10.1177/105971239500300405. The step: Hochbruck & Ostermann 2010,
    doi:10.1017/S0962492910000048.
    """

    input_size: int
    hidden_size: int
    activation: Callable[[Array], Array] = jnp.tanh
    w_init: Any = Glorot()
    u_init: Any = Orthogonal()
    b_init: Any = ForgetBias(0.0)
    tau_init: Any = Uniform(1.0, 10.0)
    use_bias: bool = True

    def __post_init__(self):
        check_dense(self)
        check_callable(self, "activation", "give a function, such as jnp.tanh.")
        check_callable(self, "tau_init", "give jaxrnn.initializers.Uniform(1.0, 10.0).")

    def init(self, key):
        k_dense, k_tau = jax.random.split(key)
        w, u, b = dense_gates(self, k_dense, "candidate")
        tau = self.tau_init(k_tau, (self.hidden_size,), w.dtype)
        return CTRNNParams(w, u, b, jnp.log(tau))

    def initial_state(self, params):
        return jnp.zeros(self.hidden_size, state_dtype(params))

    def project(self, params, x):
        x, dt = with_elapsed(x)
        return add_bias(x @ params.w, params.b), dt

    def recur(self, params, state, z):
        drive, dt = z
        rate = jnp.exp(-params.log_tau.astype(state.dtype))  # dt / tau
        if dt is not None:
            rate = rate * jnp.asarray(dt, state.dtype)
        target = self.activation(drive + state.astype(drive.dtype) @ params.u)
        return state - jnp.expm1(-rate) * (target.astype(state.dtype) - state)

    def readout(self, params, state, z):
        drive, _ = z
        return state.astype(drive.dtype)
