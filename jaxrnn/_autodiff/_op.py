"""A kernel with derivatives of every kind and order.

Reverse mode runs the kernel's backward pass, also under vmap. Everything else (forward mode,
Hessians) differentiates the reference, which equals the kernel.

`jax.custom_vjp` would forbid forward mode. So the kernel has a rule for tangents instead,
and its tangent is one linear primitive: evaluated it is the reference's, transposed it is
the kernel's backward pass.
"""

import abc
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from .._sharding import abstract, abstract_result, aligned
from ._fold import SHARED, RowAxes, fold, foldable, unfold


class Kernel(abc.ABC):
    """A differentiable kernel: hashable, with arrays in `operands` to differentiate.

    `marks` are arrays, or None, that have no derivative. All may be pytrees.

    Attributes:
        rows: where arrays have rows that know nothing of each other, so that vmap can make
            one batch of them; None: vmap runs one call after the other.
    """

    rows: ClassVar[RowAxes | None] = None

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
    def backward(
        self, operands: Any, marks: Any, saved: Any, grads: Any, wanted: Any
    ) -> Any:
        """The gradients of the operands, from those of the outputs.

        `wanted` says of which; of the others anything of the right shape will do.
        """


def call(kernel: Kernel, operands: Any, marks: Any) -> Any:
    """The kernel's outputs, differentiable with respect to `operands`."""
    return _call(kernel, *aligned((operands, marks)))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _call(kernel, operands, marks):
    return _mappable(kernel, "value")(operands, marks)


@_call.defjvp
def _call_jvp(kernel, primals, tangents):
    operands, marks = primals
    out, saved = _forward(kernel, operands, marks)
    return out, _tangent(kernel, tangents[0], operands, marks, saved)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _forward(kernel, operands, marks):
    return _mappable(kernel, "forward")(operands, marks)


@_forward.defjvp
def _forward_jvp(kernel, primals, tangents):
    """What is saved counts as constant: whoever differentiates goes by the operands."""
    operands, marks = primals
    out, saved = _forward(kernel, operands, marks)
    d_out = _tangent(kernel, tangents[0], operands, marks, saved)
    return (out, saved), (d_out, jax.tree.map(_no_tangent, saved))


@lru_cache(maxsize=256)
def _mappable(kernel, name):
    """A method of the kernel, run on one batch under vmap where that can be."""
    if kernel.rows is None:
        return getattr(kernel, name)
    run = custom_vmap(getattr(kernel, name))

    @run.def_vmap
    def _(size, mapped, *args):
        axes, mapped = kernel.rows, tuple(mapped)
        if not foldable(axes[:2], mapped):
            in_axes = jax.tree.map(lambda m: 0 if m else None, mapped)
            out = jax.vmap(getattr(kernel, name), in_axes)(*args)
        else:
            args = fold(axes[:2], mapped, size, args)
            out_axes = axes.out if name == "value" else (axes.out, axes.saved)
            out = unfold(out_axes, size, _mappable(kernel, name)(*args))
        return out, jax.tree.map(lambda _: True, out)

    return run


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _backward(kernel, wanted, operands, grads, marks, saved):
    wanted = jax.tree.unflatten(jax.tree.structure(operands), wanted)
    return kernel.backward(operands, marks, saved, grads, wanted)


@_backward.defjvp
def _backward_jvp(kernel, wanted, primals, tangents):
    operands, grads, marks, saved = primals

    def reference(operands, grads):
        _, vjp = jax.vjp(lambda o: kernel.reference(o, marks), operands)
        return vjp(grads)[0]

    _, d_out = jax.jvp(reference, (operands, grads), tangents[:2])
    return _backward(kernel, wanted, operands, grads, marks, saved), d_out


_tangent_p = Primitive("jaxrnn_tangent")
_tangent_p.multiple_results = True


def _tangent(kernel, d_operands, operands, marks, saved):
    """The tangent of the outputs, linear in `d_operands`."""
    flat, tree = jax.tree.flatten((d_operands, operands, marks, saved))
    out = _shapes(kernel, operands, marks)
    d_out = iter(_tangent_p.bind(*flat, kernel=kernel, tree=tree))
    return jax.tree.map(lambda o: next(d_out) if _varies(o) else _no_tangent(o), out)


def _varies(x):
    """Whether a value has a tangent: integers have none."""
    return jnp.issubdtype(x.dtype, jnp.inexact)


def _no_tangent(x):
    return jnp.zeros_like(x) if _varies(x) else np.zeros(x.shape, jax.dtypes.float0)


def _shapes(kernel, operands, marks):
    """The outputs, as shapes and dtypes."""
    leaves, tree = jax.tree.flatten((operands, marks))
    return _traced(kernel, tree, tuple(map(abstract, leaves)))


@lru_cache(maxsize=64)
def _traced(kernel, tree, given):
    return jax.eval_shape(kernel.reference, *jax.tree.unflatten(tree, given))


def _evaluate(*flat, kernel, tree):
    d_operands, operands, marks, _ = jax.tree.unflatten(tree, flat)
    reference = lambda o: kernel.reference(o, marks)
    d_out = jax.tree.leaves(jax.jvp(reference, (operands,), (d_operands,))[1])
    return [d for d in d_out if d.dtype != jax.dtypes.float0]


def _avals(*avals, kernel, tree):
    _, operands, marks, _ = jax.tree.unflatten(tree, avals)
    out = jax.tree.leaves(_shapes(kernel, operands, marks))
    return [abstract_result(avals, o.shape, o.dtype) for o in out if _varies(o)]


def _transpose(grads, *flat, kernel, tree):
    # unknown are the tangents that depend on what is differentiated: some of the first
    unknown = [ad.is_undefined_primal(x) for x in flat]
    known = [jnp.zeros((0,)) if u else x for u, x in zip(unknown, flat, strict=True)]
    _, operands, marks, saved = jax.tree.unflatten(tree, known)
    given = map(ad.instantiate_zeros, grads)
    grads = jax.tree.map(
        lambda o: next(given) if _varies(o) else _no_tangent(o),
        _shapes(kernel, operands, marks),
    )
    wanted = tuple(unknown[: len(jax.tree.leaves(operands))])
    all_grads = _backward(kernel, wanted, operands, grads, marks, saved)
    d_operands = jax.tree.leaves(all_grads)
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
    """The tangent of the mapped kernel: what is transposed is its backward pass, mapped."""
    d_operands, operands, marks, saved = jax.tree.unflatten(
        tree, [_Axis(axis) for axis in axes]
    )
    both = jax.tree.map(
        lambda a, b: _Axis(None) if a == b == _Axis(None) else _Axis(0),
        d_operands,
        operands,
    )
    wanted = jax.tree.leaves((both, both, marks, saved))
    size = next(x.shape[a] for x, a in zip(args, axes, strict=True) if a is not None)
    moved = [
        _moved(x, axis, want.at is not None or axis is not None, size)
        for x, axis, want in zip(args, axes, wanted, strict=True)
    ]
    in_axes = tuple(w.at if a is None else 0 for w, a in zip(wanted, axes, strict=True))
    mapped = Mapped(kernel, tree, in_axes)
    out = _tangent_p.bind(*moved, kernel=mapped, tree=tree)
    return out, [0] * len(out)


@dataclass(frozen=True)
class _Axis:
    """Where an array is mapped; a leaf even if it is not."""

    at: int | None


def _moved(x, axis, mapped, size):
    if not mapped:
        return x
    if axis is None:
        return jnp.broadcast_to(x, (size, *x.shape))
    return jnp.moveaxis(x, axis, 0)


@dataclass(frozen=True)
class Mapped(Kernel):
    """A kernel under `jax.vmap`: axes are of the tangents and of all that they depend on."""

    kernel: Kernel
    tree: Any
    axes: tuple[int | None, ...]

    def reference(self, operands, marks):
        return self._map(self.kernel.reference, 2)(operands, marks)

    def value(self, operands, marks):
        return self._map(self.kernel.value, 2)(operands, marks)

    def forward(self, operands, marks):
        return self._map(self.kernel.forward, 2)(operands, marks)

    def backward(self, operands, marks, saved, grads, wanted):
        # what all rows of the map share gets the sum of their gradients
        shared = lambda axis, d: d.sum(0) if axis.at is None else d
        axes, rows = self._axes()[1:], self.kernel.rows
        mapped = jax.tree.map(lambda axis: axis.at is not None, axes)
        if rows is None or not foldable(rows.operands, mapped[0]):
            run = self._map(partial(self.kernel.backward, wanted=wanted), 3, 0)
            return jax.tree.map(shared, axes[0], run(operands, marks, saved, grads))
        given = (operands, marks, saved, grads)
        mapped = (*mapped, jax.tree.map(lambda _: True, grads))
        row_axes = (rows.operands, rows.marks, rows.saved, rows.out)
        size = jax.tree.leaves(grads)[0].shape[0]
        operands, marks, saved, grads = fold(row_axes, mapped, size, given)
        d_operands = self.kernel.backward(operands, marks, saved, grads, wanted)
        d_operands = unfold(rows.operands, size, d_operands)
        added = jax.tree.map(
            lambda row, axis, d: d if row == SHARED else shared(axis, d),
            jax.tree.broadcast(rows.operands, axes[0]),
            axes[0],
            d_operands,
        )
        return added

    def _axes(self):
        return jax.tree.unflatten(self.tree, [_Axis(axis) for axis in self.axes])

    def _map(self, fn, count, *more):
        """`fn` over its first `count` arguments, mapped as the tangents' operands are."""
        axes = jax.tree.map(lambda axis: axis.at, self._axes()[1 : 1 + count])
        return jax.vmap(fn, in_axes=(*axes, *more))


_tangent_p.def_impl(jax.jit(_evaluate, static_argnames=("kernel", "tree")))
_tangent_p.def_abstract_eval(_avals)
ad.primitive_transposes[_tangent_p] = _transpose
ad.primitive_jvps[_tangent_p] = _jvp
batching.primitive_batchers[_tangent_p] = _batch
mlir.register_lowering(_tangent_p, mlir.lower_fun(_evaluate, multiple_results=True))
