"""An operation with derivatives of every kind and order.

Reverse mode runs the operation's backward pass, also under vmap. Everything else (forward mode,
Hessians) differentiates the reference, which equals the operation.

`jax.custom_vjp` would forbid forward mode. So the operation has a rule for tangents instead,
and its tangent is one linear primitive: evaluated it is the reference's, transposed it is
the operation's backward pass.
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


class DifferentiableOp(abc.ABC):
    """A differentiable op: hashable, with arrays in `operands` to differentiate.

    `nondiff` are arrays, or None, that have no derivative. All may be pytrees.

    Attributes:
        rows: where arrays have rows that know nothing of each other, so that vmap can make
            one batch of them; None: vmap runs one call after the other.
    """

    rows: ClassVar[RowAxes | None] = None

    @abc.abstractmethod
    def reference(self, operands: Any, nondiff: Any) -> Any:
        """The outputs, in plain JAX."""

    @abc.abstractmethod
    def value(self, operands: Any, nondiff: Any) -> Any:
        """The outputs."""

    @abc.abstractmethod
    def forward(self, operands: Any, nondiff: Any) -> tuple[Any, Any]:
        """The outputs, and what `backward` wants saved."""

    @abc.abstractmethod
    def backward(
        self, operands: Any, nondiff: Any, saved: Any, grads: Any, wanted: Any
    ) -> Any:
        """The gradients of the operands, from those of the outputs.

        `wanted` says of which; of the others anything of the right shape will do.
        """


def call(op: DifferentiableOp, operands: Any, nondiff: Any) -> Any:
    """The operation's outputs, differentiable with respect to `operands`."""
    return _call(op, *aligned((operands, nondiff)))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _call(op, operands, nondiff):
    return _mappable(op, "value")(operands, nondiff)


@_call.defjvp
def _call_jvp(op, primals, tangents):
    operands, nondiff = primals
    out, saved = _forward(op, operands, nondiff)
    return out, _tangent(op, tangents[0], operands, nondiff, saved)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _forward(op, operands, nondiff):
    return _mappable(op, "forward")(operands, nondiff)


@_forward.defjvp
def _forward_jvp(op, primals, tangents):
    """What is saved counts as constant: whoever differentiates goes by the operands."""
    operands, nondiff = primals
    out, saved = _forward(op, operands, nondiff)
    d_out = _tangent(op, tangents[0], operands, nondiff, saved)
    return (out, saved), (d_out, jax.tree.map(_no_tangent, saved))


@lru_cache(maxsize=256)
def _mappable(op, name):
    """A method of the operation, run on one batch under vmap where that can be."""
    if op.rows is None:
        return getattr(op, name)
    run = custom_vmap(getattr(op, name))

    @run.def_vmap
    def _(size, mapped, *args):
        axes, mapped = op.rows, tuple(mapped)
        if not foldable(axes[:2], mapped):
            in_axes = jax.tree.map(lambda m: 0 if m else None, mapped)
            out = jax.vmap(getattr(op, name), in_axes)(*args)
        else:
            args = fold(axes[:2], mapped, size, args)
            out_axes = axes.out if name == "value" else (axes.out, axes.saved)
            out = unfold(out_axes, size, _mappable(op, name)(*args))
        return out, jax.tree.map(lambda _: True, out)

    return run


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _backward(op, wanted, operands, grads, nondiff, saved):
    wanted = jax.tree.unflatten(jax.tree.structure(operands), wanted)
    return op.backward(operands, nondiff, saved, grads, wanted)


@_backward.defjvp
def _backward_jvp(op, wanted, primals, tangents):
    operands, grads, nondiff, saved = primals

    def reference(operands, grads):
        _, vjp = jax.vjp(lambda o: op.reference(o, nondiff), operands)
        return vjp(grads)[0]

    _, d_out = jax.jvp(reference, (operands, grads), tangents[:2])
    return _backward(op, wanted, operands, grads, nondiff, saved), d_out


_tangent_p = Primitive("jaxrnn_tangent")
_tangent_p.multiple_results = True


def _tangent(op, d_operands, operands, nondiff, saved):
    """The tangent of the outputs, linear in `d_operands`."""
    flat, tree = jax.tree.flatten((d_operands, operands, nondiff, saved))
    out = _shapes(op, operands, nondiff)
    d_out = iter(_tangent_p.bind(*flat, op=op, tree=tree))
    return jax.tree.map(lambda o: next(d_out) if _varies(o) else _no_tangent(o), out)


def _varies(x):
    """Whether a value has a tangent: integers have none."""
    return jnp.issubdtype(x.dtype, jnp.inexact)


def _no_tangent(x):
    return jnp.zeros_like(x) if _varies(x) else np.zeros(x.shape, jax.dtypes.float0)


def _shapes(op, operands, nondiff):
    """The outputs, as shapes and dtypes."""
    leaves, tree = jax.tree.flatten((operands, nondiff))
    return _traced(op, tree, tuple(map(abstract, leaves)))


@lru_cache(maxsize=64)
def _traced(op, tree, given):
    return jax.eval_shape(op.reference, *jax.tree.unflatten(tree, given))


def _evaluate(*flat, op, tree):
    d_operands, operands, nondiff, _ = jax.tree.unflatten(tree, flat)
    reference = lambda o: op.reference(o, nondiff)
    d_out = jax.tree.leaves(jax.jvp(reference, (operands,), (d_operands,))[1])
    return [d for d in d_out if d.dtype != jax.dtypes.float0]


def _avals(*avals, op, tree):
    _, operands, nondiff, _ = jax.tree.unflatten(tree, avals)
    out = jax.tree.leaves(_shapes(op, operands, nondiff))
    return [abstract_result(avals, o.shape, o.dtype) for o in out if _varies(o)]


def _transpose(grads, *flat, op, tree):
    # unknown are the tangents that depend on what is differentiated: some of the first
    unknown = [ad.is_undefined_primal(x) for x in flat]
    known = [jnp.zeros((0,)) if u else x for u, x in zip(unknown, flat, strict=True)]
    _, operands, nondiff, saved = jax.tree.unflatten(tree, known)
    given = map(ad.instantiate_zeros, grads)
    grads = jax.tree.map(
        lambda o: next(given) if _varies(o) else _no_tangent(o),
        _shapes(op, operands, nondiff),
    )
    wanted = tuple(unknown[: len(jax.tree.leaves(operands))])
    all_grads = _backward(op, wanted, operands, grads, nondiff, saved)
    d_operands = jax.tree.leaves(all_grads)
    d_operands += [None] * (len(flat) - len(d_operands))
    return [d if u else None for u, d in zip(unknown, d_operands, strict=True)]


def _jvp(primals, tangents, *, op, tree):
    count = len(jax.tree.leaves(jax.tree.unflatten(tree, primals)[:2]))
    given, rest = primals[:count], primals[count:]
    d_given = tuple(ad.instantiate_zeros(d) for d in tangents[:count])
    evaluate = lambda *given: _evaluate(*given, *rest, op=op, tree=tree)
    _, d_out = jax.jvp(evaluate, given, d_given)
    return _tangent_p.bind(*primals, op=op, tree=tree), d_out


def _batch(args, axes, *, op, tree):
    """The tangent of the mapped op: what is transposed is its backward pass, mapped."""
    d_operands, operands, nondiff, saved = jax.tree.unflatten(
        tree, [_Axis(axis) for axis in axes]
    )
    both = jax.tree.map(
        lambda a, b: _Axis(None) if a == b == _Axis(None) else _Axis(0),
        d_operands,
        operands,
    )
    wanted = jax.tree.leaves((both, both, nondiff, saved))
    size = next(x.shape[a] for x, a in zip(args, axes, strict=True) if a is not None)
    moved = [
        _moved(x, axis, want.at is not None or axis is not None, size)
        for x, axis, want in zip(args, axes, wanted, strict=True)
    ]
    in_axes = tuple(w.at if a is None else 0 for w, a in zip(wanted, axes, strict=True))
    mapped = VmappedOp(op, tree, in_axes)
    out = _tangent_p.bind(*moved, op=mapped, tree=tree)
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
class VmappedOp(DifferentiableOp):
    """An operation under `jax.vmap`; `axes` are those of its flat arguments."""

    op: DifferentiableOp
    tree: Any
    axes: tuple[int | None, ...]

    def reference(self, operands, nondiff):
        return self._map(self.op.reference, 2)(operands, nondiff)

    def value(self, operands, nondiff):
        return self._map(self.op.value, 2)(operands, nondiff)

    def forward(self, operands, nondiff):
        return self._map(self.op.forward, 2)(operands, nondiff)

    def backward(self, operands, nondiff, saved, grads, wanted):
        # what all rows of the map share gets the sum of their gradients
        shared = lambda axis, d: d.sum(0) if axis.at is None else d
        axes, rows = self._axes()[1:], self.op.rows
        mapped = jax.tree.map(lambda axis: axis.at is not None, axes)
        if rows is None or not foldable(rows.operands, mapped[0]):
            run = self._map(partial(self.op.backward, wanted=wanted), 3, 0)
            return jax.tree.map(shared, axes[0], run(operands, nondiff, saved, grads))
        given = (operands, nondiff, saved, grads)
        mapped = (*mapped, jax.tree.map(lambda _: True, grads))
        row_axes = (rows.operands, rows.nondiff, rows.saved, rows.out)
        size = jax.tree.leaves(grads)[0].shape[0]
        operands, nondiff, saved, grads = fold(row_axes, mapped, size, given)
        d_operands = self.op.backward(operands, nondiff, saved, grads, wanted)
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


_tangent_p.def_impl(jax.jit(_evaluate, static_argnames=("op", "tree")))
_tangent_p.def_abstract_eval(_avals)
ad.primitive_transposes[_tangent_p] = _transpose
ad.primitive_jvps[_tangent_p] = _jvp
batching.primitive_batchers[_tangent_p] = _batch
mlir.register_lowering(_tangent_p, mlir.lower_fun(_evaluate, multiple_results=True))
