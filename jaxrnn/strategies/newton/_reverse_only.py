"""A clear error when forward-mode autodiff reaches a reverse-only rule.

JAX's own error for `custom_vjp` says that forward mode is not available, but not what to
do. The difference between the modes: forward mode *computes* tangents; reverse mode only
records the operations on them, and transposes the record. So the identity primitive here
can be recorded and transposed, and raises if it is computed.
"""

from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


Tree = TypeVar("Tree")


def reverse_only(owner: str, tree: Tree) -> Tree:
    """The tree unchanged; forward mode through it raises, and says to use `Scan()`."""

    def marked(leaf: Any) -> Any:
        floating = jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
        return _marked(owner, leaf) if floating else leaf

    return jax.tree.map(marked, tree)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _marked(owner: str, x: jax.Array) -> jax.Array:
    return x


# the primal is an argument as well, so that `_batched` can see whether there is one point
@_marked.defjvp
def _marked_tangent(owner, primals, tangents):
    return _marked(owner, *primals), _pass_on.bind(*tangents, *primals, owner=owner)


def _refuse(*_: Any, owner: str, **__: Any) -> Any:
    raise TypeError(
        f"{owner} has no forward-mode derivative (jax.jvp, jax.jacfwd, jax.linearize, "
        "jax.hessian), because its backward pass is written by hand. Give "
        "strategy=jaxrnn.Scan(), which has all of JAX's autodiff; or use reverse mode: "
        "jax.grad, jax.jacrev, and Hessian-vector products by jax.grad of jax.grad."
    )


def _batched(args: Any, dims: Any, *, owner: str) -> Any:
    # many tangents at one point: forward mode, by jax.jacfwd or jax.hessian
    if dims[1] is None:
        _refuse(owner=owner)
    # a batch of points, each with its tangent: the derivative of a vmapped function
    args = [jnp.moveaxis(x, dim, 0) for x, dim in zip(args, dims, strict=True)]
    return _pass_on.bind(*args, owner=owner), 0


def _tangent_of_tangent(primals: Any, tangents: Any, *, owner: str) -> Any:
    tangent, *_ = tangents
    if not isinstance(tangent, ad.Zero):
        tangent = _pass_on.bind(tangent, primals[1], owner=owner)
    return _pass_on.bind(*primals, owner=owner), tangent


# (tangent, point) -> tangent: the identity in the tangent. Evaluation and lowering refuse;
# the abstract value, batching, derivative and transpose are those of an identity.
_pass_on = Primitive("jaxrnn_reverse_only")
_pass_on.def_impl(_refuse)
_pass_on.def_abstract_eval(lambda tangent, point, *, owner: tangent)
mlir.register_lowering(_pass_on, lambda ctx, *args, owner: _refuse(owner=owner))
batching.primitive_batchers[_pass_on] = _batched
ad.primitive_jvps[_pass_on] = _tangent_of_tangent
ad.primitive_transposes[_pass_on] = lambda ct, tangent, point, *, owner: [ct, None]
