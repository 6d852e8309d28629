"""Words for those who differentiate forwards through what only goes backwards.

A derivative rule for reverse mode alone makes JAX say that forward mode is not to be had,
but not what to do about it. A tangent that has to be *computed* is one of forward mode; in
reverse mode, tangents are only recorded, and transposed. So the primitive here passes on
what is recorded, and refuses to be computed.
"""

from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


Tree = TypeVar("Tree")


def reverse_only(owner: str, tree: Tree) -> Tree:
    """The tree as it is; forward mode through it raises, and says to use `Scan()`."""

    def marked(leaf: Any) -> Any:
        floating = jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
        return _marked(owner, leaf) if floating else leaf

    return jax.tree.map(marked, tree)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _marked(owner: str, x: jax.Array) -> jax.Array:
    return x


@_marked.defjvp
def _marked_tangent(owner, primals, tangents):
    return _marked(owner, *primals), _pass_on.bind(*tangents, *primals, owner=owner)


def _refuse(*_: Any, owner: str, **__: Any) -> Any:
    raise TypeError(
        f"{owner} has no forward-mode derivative (jax.jvp, jax.jacfwd, jax.linearize, "
        "jax.hessian): its backward pass is written out by hand. Give "
        "strategy=jaxrnn.Scan(), which has all of JAX's autodiff; or use reverse mode: "
        "jax.grad, jax.jacrev, and Hessian-vector products by jax.grad of jax.grad."
    )


def _batched(args: Any, dims: Any, *, owner: str) -> Any:
    if dims[1] is None:  # many tangents at one point: jax.jacfwd, jax.hessian
        _refuse(owner=owner)
    # a batch of points, each with its tangent: vmap inside of what is differentiated
    args = [jnp.moveaxis(x, dim, 0) for x, dim in zip(args, dims, strict=True)]
    return _pass_on.bind(*args, owner=owner), 0


def _tangent_of_tangent(primals: Any, tangents: Any, *, owner: str) -> Any:
    tangent, *_ = tangents
    if not isinstance(tangent, ad.Zero):
        tangent = _pass_on.bind(tangent, primals[1], owner=owner)
    return _pass_on.bind(*primals, owner=owner), tangent


# takes a tangent, and the point where it is one; gives the tangent
_pass_on = Primitive("jaxrnn_reverse_only")
_pass_on.def_impl(_refuse)
_pass_on.def_abstract_eval(lambda tangent, point, *, owner: tangent)
mlir.register_lowering(_pass_on, lambda ctx, *args, owner: _refuse(owner=owner))
batching.primitive_batchers[_pass_on] = _batched
ad.primitive_jvps[_pass_on] = _tangent_of_tangent
ad.primitive_transposes[_pass_on] = lambda ct, tangent, point, *, owner: [ct, None]
