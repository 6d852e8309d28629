"""A kernel with derivatives of every kind and order.

Reverse mode runs the kernel's backward pass. Everything else (forward mode, Hessians, vmap
inside a gradient) differentiates the reference, which equals the kernel.

`jax.custom_vjp` would forbid forward mode. So the kernel has a rule for tangents instead,
and its tangent is one linear primitive: evaluated it is the reference's, transposed it is
the kernel's backward pass.
"""

import abc
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


class Kernel(abc.ABC):
    """A differentiable kernel: hashable, with arrays in `operands` to differentiate.

    `marks` are arrays, or None, that have no derivative. All may be pytrees.
    """

    @abc.abstractmethod
    def reference(self, operands: Any, marks: Any) -> Any:
        """The outputs, in plain JAX."""

    @abc.abstractmethod
    def value(self, operands: Any, marks: Any) -> Any:
        """The outputs."""

    @abc.abstractmethod
    def forward(self, operands: Any, marks: Any) -> tuple[Any, Any]:
        """The outputs, and what `backward` wants saved."""

    @abc.abstractmethod
    def backward(self, operands: Any, marks: Any, saved: Any, grads: Any) -> Any:
        """The gradients of the operands, from those of the outputs."""


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def call(kernel: Kernel, operands: Any, marks: Any) -> Any:
    """The kernel's outputs, differentiable with respect to `operands`."""
    return kernel.value(operands, marks)


@call.defjvp
def _call_jvp(kernel, primals, tangents):
    operands, marks = primals
    out, saved = _forward(kernel, operands, marks)
    return out, _tangent(kernel, tangents[0], operands, marks, saved)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _forward(kernel, operands, marks):
    return kernel.forward(operands, marks)


@_forward.defjvp
def _forward_jvp(kernel, primals, tangents):
    """What is saved counts as constant: whoever differentiates goes by the operands."""
    operands, marks = primals
    out, saved = _forward(kernel, operands, marks)
    d_out = _tangent(kernel, tangents[0], operands, marks, saved)
    return (out, saved), (d_out, jax.tree.map(jnp.zeros_like, saved))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _backward(kernel, operands, grads, marks, saved):
    return kernel.backward(operands, marks, saved, grads)


@_backward.defjvp
def _backward_jvp(kernel, primals, tangents):
    operands, grads, marks, saved = primals

    def reference(operands, grads):
        _, vjp = jax.vjp(lambda o: kernel.reference(o, marks), operands)
        return vjp(grads)[0]

    _, d_out = jax.jvp(reference, (operands, grads), tangents[:2])
    return _backward(kernel, operands, grads, marks, saved), d_out


_tangent_p = Primitive("jaxrnn_tangent")
_tangent_p.multiple_results = True


def _tangent(kernel, d_operands, operands, marks, saved):
    """The tangent of the outputs, linear in `d_operands`."""
    flat, tree = jax.tree.flatten((d_operands, operands, marks, saved))
    out = jax.eval_shape(kernel.reference, operands, marks)
    d_out = _tangent_p.bind(*flat, kernel=kernel, tree=tree)
    return jax.tree.unflatten(jax.tree.structure(out), d_out)


def _evaluate(*flat, kernel, tree):
    d_operands, operands, marks, _ = jax.tree.unflatten(tree, flat)
    reference = lambda o: kernel.reference(o, marks)
    return jax.tree.leaves(jax.jvp(reference, (operands,), (d_operands,))[1])


def _avals(*avals, kernel, tree):
    _, operands, marks, _ = jax.tree.unflatten(
        tree, [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
    )
    out = jax.tree.leaves(jax.eval_shape(kernel.reference, operands, marks))
    return [avals[0].update(shape=o.shape, dtype=o.dtype) for o in out]


def _transpose(grads, *flat, kernel, tree):
    # unknown are the tangents that depend on what is differentiated: some of the first
    unknown = [ad.is_undefined_primal(x) for x in flat]
    known = [jnp.zeros((0,)) if u else x for u, x in zip(unknown, flat, strict=True)]
    _, operands, marks, saved = jax.tree.unflatten(tree, known)
    out = jax.tree.structure(jax.eval_shape(kernel.reference, operands, marks))
    grads = jax.tree.unflatten(out, [ad.instantiate_zeros(g) for g in grads])
    d_operands = jax.tree.leaves(_backward(kernel, operands, grads, marks, saved))
    d_operands += [None] * (len(flat) - len(d_operands))
    return [d if u else None for u, d in zip(unknown, d_operands, strict=True)]


def _jvp(primals, tangents, *, kernel, tree):
    count = len(jax.tree.leaves(jax.tree.unflatten(tree, primals)[:2]))
    given, rest = primals[:count], primals[count:]
    d_given = tuple(ad.instantiate_zeros(d) for d in tangents[:count])
    evaluate = lambda *given: _evaluate(*given, *rest, kernel=kernel, tree=tree)
    _, d_out = jax.jvp(evaluate, given, d_given)
    return _tangent_p.bind(*primals, kernel=kernel, tree=tree), d_out


def _batch(args, axes, *, kernel, tree):
    evaluate = partial(_evaluate, kernel=kernel, tree=tree)
    out = jax.vmap(evaluate, in_axes=tuple(axes))(*args)
    return out, [0] * len(out)


_tangent_p.def_impl(jax.jit(_evaluate, static_argnames=("kernel", "tree")))
_tangent_p.def_abstract_eval(_avals)
ad.primitive_transposes[_tangent_p] = _transpose
ad.primitive_jvps[_tangent_p] = _jvp
batching.primitive_batchers[_tangent_p] = _batch
mlir.register_lowering(_tangent_p, mlir.lower_fun(_evaluate, multiple_results=True))
