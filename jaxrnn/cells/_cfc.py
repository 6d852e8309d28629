"""Closed-form continuous-time network. Hasani et al. 2022, arXiv:2106.13898."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid
from jaxtyping import Array, Float

from .._arrays import add_bias, float_dtype
from .._layer import Cell
from .._validate import check_callable
from ..initializers import ForgetBias, Glorot
from ._common import blocks, check_dense
from ._elapsed import with_elapsed


def lecun_tanh(v: Array) -> Array:
    """1.7159 tanh(0.666 v), as in the code of CfC; LeCun et al. 1998 use 2/3."""
    return 1.7159 * jnp.tanh(0.666 * v)


class CfCParams(NamedTuple):
    """Parameters of `CfC`: a backbone of k units and its four heads f, g, a, b."""

    w: Float[Array, "x k"]
    u: Float[Array, "h k"]
    b: Float[Array, "k"] | None
    w_hidden: Float[Array, "l k k"]
    b_hidden: Float[Array, "l k"] | None
    w_out: Float[Array, "k g"]
    b_out: Float[Array, "g"] | None


@dataclass(frozen=True)
class CfC(Cell[CfCParams, Float[Array, "h"]]):
    """Closed-form continuous-time network: a gate that is a function of elapsed time.

        v  = backbone(W x + U h + b)
        f, g, a, b = split(W_out v + b_out)
        s  = sigmoid(a dt + b)
        h' = (1 - s) tanh(f) + s tanh(g)

    This approximates the liquid time-constant network in closed form, so that its
    differential equation need not be solved. The surprise: the old state acts only through
    the backbone; unlike in a GRU, no gate keeps it.

    Inputs are `(T, B, features)` with dt = 1 between steps, or a pair `(features, dt)` with
    dt `(T, B)` for samples that are not evenly spaced.

    Agrees with the authors' code in its default mode. Not offered: its modes `pure` and
    `no_gate`, mixed memory, sparse wirings, and a backbone without layers.

    Args:
        input_size: features of x.
        hidden_size: units of h, the state and the output.
        backbone_size: units of each backbone layer.
        backbone_layers: number of backbone layers, at least 1.
        activation: the backbone's activation; `jaxrnn.cells.lecun_tanh` by default, as in
            the authors' code, with 0.666 for LeCun's 2/3.
        w_init, u_init, b_init: initializers of W and all later weights, of U, and of the
            backbone's first bias; the other biases start at zero.
        use_bias: False for a cell without biases.

    Raises:
        TypeError: if a size is not an integer, or if an activation or an initializer is
            not callable.
        ValueError: if a size is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.CfC(3, 4, backbone_size=8)
        >>> params = cell.init(jax.random.key(0))
        >>> xs, dt = jnp.ones((5, 2, 3)), jnp.full((5, 2), 0.1)
        >>> state, ys = jaxrnn.unroll(cell, params, (xs, dt))
        >>> ys.shape
        (5, 2, 4)

    Reference: Hasani, Lechner, Amini, Liebenwein, Ray, Tschaikowski, Teschl, Rus 2022,
    arXiv:2106.13898, doi:10.1038/s42256-022-00556-7.
    """

    input_size: int
    hidden_size: int
    backbone_size: int = 128
    backbone_layers: int = 1
    activation: Callable[[Array], Array] = lecun_tanh
    w_init: Any = Glorot()
    u_init: Any = Glorot()
    b_init: Any = ForgetBias(0.0)
    use_bias: bool = True

    def __post_init__(self):
        check_dense(self, "backbone_size", "backbone_layers")
        check_callable(self, "activation", "give a function, such as jnp.tanh.")

    def init(self, key):
        h, k, dtype = self.hidden_size, self.backbone_size, float_dtype()
        k_w, k_u, k_b, k_hidden, k_out = jax.random.split(key, 5)
        more = self.backbone_layers - 1
        hidden = [self.w_init(k_l, (k, k), dtype) for k_l in _split(k_hidden, more)]
        params = CfCParams(
            w=self.w_init(k_w, (self.input_size, k), dtype),
            u=self.u_init(k_u, (h, k), dtype),
            b=self.b_init.bias(k_b, ("candidate",), k, dtype),
            w_hidden=jnp.stack(hidden) if hidden else jnp.zeros((0, k, k), dtype),
            b_hidden=jnp.zeros((more, k), dtype),
            w_out=blocks(self.w_init, k_out, (k, h), 4),
            b_out=jnp.zeros(4 * h, dtype),
        )
        if self.use_bias:
            return params
        return params._replace(b=None, b_hidden=None, b_out=None)

    def initial_state(self, params):
        return jnp.zeros(self.hidden_size, params.w.dtype)

    def project(self, params, x):
        x, dt = with_elapsed(x)
        return add_bias(x @ params.w, params.b), dt

    def recur(self, params, state, z):
        drive, dt = z
        v = self.activation(drive + state @ params.u)
        for layer in range(self.backbone_layers - 1):
            b = params.b_hidden[layer] if self.use_bias else None
            v = self.activation(add_bias(v @ params.w_hidden[layer], b))
        f, g, a, b = jnp.split(add_bias(v @ params.w_out, params.b_out), 4)
        s = sigmoid(a * (1 if dt is None else dt) + b)
        return (1 - s) * jnp.tanh(f) + s * jnp.tanh(g)


def _split(key, count):
    return jax.random.split(key, count) if count else []
