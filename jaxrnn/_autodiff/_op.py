"""An operation with its own backward pass, and with derivatives of every kind and order.

`jax.custom_vjp` would forbid forward mode. So the operation has a JVP rule instead, and its
tangent is one primitive, linear in the tangents of the operands:

    d_out = J(operands) d_operands

Evaluated (forward mode), the primitive is the tangent of the reference in plain JAX, which
computes the same function. Transposed (reverse mode), it is the operation's backward pass,
`J^T grads`. Higher derivatives differentiate the reference, and vmap maps the primitive to
the tangent of the vmapped operation, so that reverse mode works under vmap as well.
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
    """An operation on arrays, differentiable with respect to `operands`.

    It must be hashable, since it is a static parameter of the primitive. `operands` and
    `nondiff` are pytrees of arrays; `nondiff` has no derivative and may be None.

    Attributes:
        rows: the batch axes of the arrays, if the sequences of a batch are independent, so
            that vmap can fold its axis into the batch. With None, vmap maps the methods as
            they are.
    """

    rows: ClassVar[RowAxes | None] = None

    @abc.abstractmethod
    def reference(self, operands: Any, nondiff: Any) -> Any:
        """The outputs in plain JAX, differentiable by JAX: the specification."""

    @abc.abstractmethod
    def value(self, operands: Any, nondiff: Any) -> Any:
        """The outputs."""

    @abc.abstractmethod
    def forward(self, operands: Any, nondiff: Any) -> tuple[Any, Any]:
        """The outputs, and the residuals for `backward`."""

    @abc.abstractmethod
    def backward(
        self, operands: Any, nondiff: Any, saved: Any, grads: Any, wanted: Any
    ) -> Any:
        """The gradients of the operands, given the gradients of the outputs.

        `saved` are the residuals of `forward`. `wanted` has a boolean for each operand:
        where it is False, any array of the right shape will do.
        """


def call(op: DifferentiableOp, operands: Any, nondiff: Any) -> Any:
    """The operation's outputs, differentiable with respect to `operands`."""
    # inside shard_map, all arguments of a primitive must vary over the same mesh axes
    return _call(op, *aligned((operands, nondiff)))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _call(op, operands, nondiff):
    return _mappable(op, "value")(operands, nondiff)


@_call.defjvp
def _call_jvp(op, primals, tangents):
    # differentiated calls run `forward` instead of `value`: only they need residuals
    operands, nondiff = primals
    out, saved = _forward(op, operands, nondiff)
    return out, _tangent(op, tangents[0], operands, nondiff, saved)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _forward(op, operands, nondiff):
    return _mappable(op, "forward")(operands, nondiff)


@_forward.defjvp
def _forward_jvp(op, primals, tangents):
    """Residuals are treated as constants; all derivatives flow through the operands.

    A second derivative differentiates `_call_jvp`, and so `_forward`. The residuals reach
    only `_tangent_p`, whose own derivatives recompute everything from the operands: a
    derivative through the residuals as well would be counted twice.
    """
    operands, nondiff = primals
    out, saved = _forward(op, operands, nondiff)
    d_out = _tangent(op, tangents[0], operands, nondiff, saved)
    return (out, saved), (d_out, jax.tree.map(_zero_tangent, saved))


@lru_cache(maxsize=256)
def _mappable(op, name):
    """A method of the operation that vmap runs as one larger batch where possible."""
    if op.rows is None:
        return getattr(op, name)
    # cached, since every custom_vmap is a new function to JAX and would be traced again
    run = custom_vmap(getattr(op, name))

    @run.def_vmap
    def _(size, mapped, *args):
        axes, mapped = op.rows, tuple(mapped)
        if not foldable(axes[:2], mapped):
            in_axes = jax.tree.map(lambda m: 0 if m else None, mapped)
            out = jax.vmap(getattr(op, name), in_axes)(*args)
        else:
            # `_mappable` once more: a second vmap around this one can be folded as well
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
    # `op.backward` may be a kernel without derivatives. It is a function of operands and
    # grads, so differentiate the reference's backward pass, in plain JAX, in its place. The
    # residuals are constants, as in `_forward_jvp`.
    operands, grads, nondiff, saved = primals

    def reference(operands, grads):
        _, vjp = jax.vjp(lambda o: op.reference(o, nondiff), operands)
        return vjp(grads)[0]

    _, d_out = jax.jvp(reference, (operands, grads), tangents[:2])
    return _backward(op, wanted, operands, grads, nondiff, saved), d_out


# A primitive, since it needs both a transpose rule and a batching rule: custom_vjp has no
# forward mode, and jax.custom_derivatives.linear_call no batching rule. Its arguments are
# the flat leaves of (d_operands, operands, nondiff, saved); it is linear in d_operands
# alone.
_tangent_p = Primitive("jaxrnn_tangent")
_tangent_p.multiple_results = True


def _tangent(op, d_operands, operands, nondiff, saved):
    """The tangent of the outputs, linear in `d_operands`."""
    flat, tree = jax.tree.flatten((d_operands, operands, nondiff, saved))
    out = _shapes(op, operands, nondiff)
    d_out = iter(_tangent_p.bind(*flat, op=op, tree=tree))
    return jax.tree.map(
        lambda o: next(d_out) if _has_tangent(o) else _zero_tangent(o), out
    )


def _has_tangent(x):
    """Whether an array has a tangent; integers and booleans have none."""
    return jnp.issubdtype(x.dtype, jnp.inexact)


def _zero_tangent(x):
    # JAX's tangent of an integer is of dtype float0; it carries no data, so the primitive,
    # whose results are arrays, leaves such outputs out
    if _has_tangent(x):
        return jnp.zeros_like(x)
    return np.zeros(x.shape, jax.dtypes.float0)


def _shapes(op, operands, nondiff):
    """The shapes and dtypes of the outputs; cached, since every rule asks for them."""
    leaves, tree = jax.tree.flatten((operands, nondiff))
    return _traced(op, tree, tuple(map(abstract, leaves)))


@lru_cache(maxsize=64)
def _traced(op, tree, given):
    return jax.eval_shape(op.reference, *jax.tree.unflatten(tree, given))


def _evaluate(*flat, op, tree):
    """The tangent as a value: the reference's, in plain JAX. Residuals are not read."""
    d_operands, operands, nondiff, _ = jax.tree.unflatten(tree, flat)
    reference = lambda o: op.reference(o, nondiff)
    d_out = jax.tree.leaves(jax.jvp(reference, (operands,), (d_operands,))[1])
    return [d for d in d_out if d.dtype != jax.dtypes.float0]


def _avals(*avals, op, tree):
    _, operands, nondiff, _ = jax.tree.unflatten(tree, avals)
    out = jax.tree.leaves(_shapes(op, operands, nondiff))
    return [abstract_result(avals, o.shape, o.dtype) for o in out if _has_tangent(o)]


def _transpose(grads, *flat, op, tree):
    """Transpose rule: `d_operands -> J d_operands` becomes `grads -> J^T grads`.

    That is the operation's backward pass, whatever the tangents are.
    """
    # JAX passes undefined primals for the arguments that it wants the transpose for: the
    # tangents, all or some of them. The rest are values, in the same flat order; a
    # placeholder keeps the tree's shape.
    unknown = [ad.is_undefined_primal(x) for x in flat]
    known = [jnp.zeros((0,)) if u else x for u, x in zip(unknown, flat, strict=True)]
    _, operands, nondiff, saved = jax.tree.unflatten(tree, known)
    # an output that the loss does not use has a symbolic zero as its cotangent
    given = map(ad.instantiate_zeros, grads)
    grads = jax.tree.map(
        lambda o: next(given) if _has_tangent(o) else _zero_tangent(o),
        _shapes(op, operands, nondiff),
    )
    wanted = tuple(unknown[: len(jax.tree.leaves(operands))])
    all_grads = _backward(op, wanted, operands, grads, nondiff, saved)
    d_operands = jax.tree.leaves(all_grads)
    # one cotangent for each argument; None where JAX did not ask
    d_operands += [None] * (len(flat) - len(d_operands))
    return [d if u else None for u, d in zip(unknown, d_operands, strict=True)]


def _jvp(primals, tangents, *, op, tree):
    """JVP rule: the tangent depends on `d_operands`, linearly, and on `operands`.

    Second order is plain JAX. The first result stays the primitive, so that reverse mode
    can still transpose it to the backward pass.
    """
    count = len(jax.tree.leaves(jax.tree.unflatten(tree, primals)[:2]))
    given, rest = primals[:count], primals[count:]
    d_given = tuple(ad.instantiate_zeros(d) for d in tangents[:count])
    evaluate = lambda *given: _evaluate(*given, *rest, op=op, tree=tree)
    _, d_out = jax.jvp(evaluate, given, d_given)
    return _tangent_p.bind(*primals, op=op, tree=tree), d_out


def _batch(args, axes, *, op, tree):
    """Batching rule: the tangent of the vmapped op, so that its transpose is the vmapped
    backward pass."""
    d_operands, operands, nondiff, saved = jax.tree.unflatten(
        tree, [_Axis(axis) for axis in axes]
    )
    # a tangent has the shape of its operand: if one of the two is mapped, map both
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
    """The mapped axis of an array, or None. A class, since None is not a leaf."""

    at: int | None


def _moved(x, axis, mapped, size):
    if not mapped:
        return x
    if axis is None:
        return jnp.broadcast_to(x, (size, *x.shape))
    return jnp.moveaxis(x, axis, 0)


@dataclass(frozen=True)
class VmappedOp(DifferentiableOp):
    """An operation under `jax.vmap`, itself an operation, so that vmaps nest.

    `axes` has the mapped axis, 0 or None, of each flat argument of the tangent primitive,
    and `tree` the structure of these arguments.
    """

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
        # an operand that is not mapped is broadcast to all calls; the transpose of a
        # broadcast is a sum
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
        # the one large batch has summed the gradients of shared operands already
        return jax.tree.map(
            lambda row, axis, d: d if row == SHARED else shared(axis, d),
            jax.tree.broadcast(rows.operands, axes[0]),
            axes[0],
            d_operands,
        )

    def _axes(self):
        return jax.tree.unflatten(self.tree, [_Axis(axis) for axis in self.axes])

    def _map(self, fn, count, *more):
        """`fn` mapped over `count` arguments by the axes kept here, then by `more`."""
        axes = jax.tree.map(lambda axis: axis.at, self._axes()[1 : 1 + count])
        return jax.vmap(fn, in_axes=(*axes, *more))


# outside of jit, and when a program with the primitive is lowered, it is evaluated
_tangent_p.def_impl(jax.jit(_evaluate, static_argnames=("op", "tree")))
_tangent_p.def_abstract_eval(_avals)
ad.primitive_transposes[_tangent_p] = _transpose
ad.primitive_jvps[_tangent_p] = _jvp
batching.primitive_batchers[_tangent_p] = _batch
mlir.register_lowering(_tangent_p, mlir.lower_fun(_evaluate, multiple_results=True))
