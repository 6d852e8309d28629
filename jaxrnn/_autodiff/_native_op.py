"""An operation written in C++ for CPUs, as one operation of JAX.

The platform is known when a program is lowered, not when it is traced, so the choice is
made in a lowering rule: the C++ code on a CPU; plain JAX in a program for `jax.export`,
which may run where jaxrnn is not installed; and a clear error on other platforms. On
several devices, each device runs its own sequences of the batch.
"""

import abc
from functools import lru_cache, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jax.sharding import NamedSharding, PartitionSpec

from .._sharding import abstract_result, partly_manual
from ._fold import SHARED, RowAxes
from ._op import DifferentiableOp


class NativeOp(DifferentiableOp):
    """An operation whose subclass calls C++ code in `native_value`, `native_forward` and
    `native_backward`."""

    rows: ClassVar[RowAxes]

    @abc.abstractmethod
    def native_value(self, operands: Any, nondiff: Any) -> Any:
        """`value` by the C++ code."""

    @abc.abstractmethod
    def native_forward(self, operands: Any, nondiff: Any) -> tuple[Any, Any]:
        """`forward` by the C++ code."""

    @abc.abstractmethod
    def native_backward(
        self, operands: Any, nondiff: Any, saved: Any, grads: Any, wanted: Any
    ) -> Any:
        """`backward` by the C++ code."""

    def value(self, operands, nondiff):
        return _run(self, "value", (), (operands, nondiff))

    def forward(self, operands, nondiff):
        return _run(self, "forward", (), (operands, nondiff))

    def backward(self, operands, nondiff, saved, grads, wanted):
        wanted = tuple(jax.tree.leaves(wanted))
        return _run(self, "backward", wanted, (operands, nondiff, saved, grads))


def _native(op, name, wanted, args):
    """One method by the C++ code; `args` are its arguments except `wanted`."""
    if name != "backward":
        return getattr(op, f"native_{name}")(*args)
    wanted = jax.tree.unflatten(jax.tree.structure(args[0]), wanted)
    return op.native_backward(*args, wanted)


def _plain(op, name, wanted, args):
    """The same method in plain JAX; its backward pass does not read the residuals."""
    operands, nondiff = args[:2]
    if name == "backward":
        _, vjp = jax.vjp(lambda o: op.reference(o, nondiff), operands)
        return vjp(args[3])[0]
    out = op.reference(operands, nondiff)
    if name == "value":
        return out
    # residuals with the types of the C++ code's; `backward` above does not need their
    # values, and NaN would show if anything read them
    _, saved = jax.eval_shape(partial(_native, op, name, wanted), args)
    return out, jax.tree.map(lambda s: jnp.full(s.shape, jnp.nan, s.dtype), saved)


def _run(op, name, wanted, args):
    flat, tree = jax.tree.flatten(args)
    run = _operation(op, name, wanted, tree)
    return jax.tree.unflatten(run.out_tree(flat), run(*flat))


class _Operation:
    """One method of an operation on flat arrays, partitioned over devices by sequences."""

    def __init__(self, **params):
        self.params = params
        bind = lambda *flat: tuple(_run_p.bind(*flat, **params))
        # without this, XLA would gather all arrays on every device: it cannot look into a
        # custom call. `sequential_vmap`, since neither has a batching rule; a vmap that can
        # be folded into the batch has been folded before (`_op._mappable`).
        over_devices = custom_partitioning(bind)
        over_devices.def_partition(self.partition, sharding_rule=self.sharding_rule)
        self.over_devices = sequential_vmap(over_devices)
        self.on_one_device = sequential_vmap(bind)

    def __call__(self, *flat):
        # custom_partitioning does not support a shard_map over some axes of a mesh; there
        # `_lower` takes plain JAX, which XLA can partition
        return (self.on_one_device if partly_manual() else self.over_devices)(*flat)

    def out_tree(self, flat):
        return jax.tree.structure(_shapes(tuple(flat), **self.params))

    def axes(self, shapes):
        """The batch axis of every argument and every result; SHARED if it has none."""
        op, name, tree = (self.params[k] for k in ("op", "name", "tree"))
        rows = op.rows
        args = jax.tree.unflatten(tree, shapes)
        given = (rows.operands, rows.nondiff, rows.saved, rows.out)[: len(args)]
        out = {
            "value": rows.out,
            "forward": (rows.out, rows.saved),
            "backward": rows.operands,
        }[name]
        found = _shapes(tuple(shapes), **self.params)
        leaves = lambda axes, tree: jax.tree.leaves(jax.tree.broadcast(axes, tree))
        return leaves(given, args), leaves(out, found)

    def sharding_rule(self, mesh, args, results):
        """An einsum-like rule: one name for all batch axes, and one for each other axis."""
        del mesh
        # only the shapes matter here; the dtype is a placeholder
        shapes = [jax.ShapeDtypeStruct(a.shape, jnp.float32) for a in args]
        number = iter(range(10**6))
        others: list[str] = []

        def named(axis, array):
            names = [f"a{next(number)}" for _ in array.shape]
            if axis != SHARED:
                names[axis] = "b"
            others.extend(n for n in names if n != "b")
            return " ".join(names)

        before, after = self.axes(shapes)
        sides = [
            ", ".join(map(named, axes, arrays))
            for axes, arrays in ((before, args), (after, results))
        ]
        # every other axis must be whole on each device
        return " -> ".join(sides), {"need_replication_factors": tuple(others)}

    def partition(self, mesh, args, results):
        """Every device runs its own sequences; gradients of shared arrays are summed."""
        del results
        before, after = self.axes(args)
        pairs = zip(before, args, strict=True)
        specs = [
            dict(enumerate(x.sharding.spec)).get(axis)
            for axis, x in pairs
            if axis != SHARED
        ]
        over = next((spec for spec in specs if spec is not None), None)

        def local(*flat):
            found = _run_p.bind(*flat, **self.params)
            if over is None:
                return tuple(found)
            return tuple(
                jax.lax.psum(x, over) if axis == SHARED else x
                for axis, x in zip(after, found, strict=True)
            )

        def placed(axis):
            spec = () if axis == SHARED else (*(None,) * axis, over)
            return NamedSharding(mesh, PartitionSpec(*spec))

        return mesh, local, tuple(map(placed, after)), tuple(map(placed, before))


@lru_cache(maxsize=256)
def _operation(op, name, wanted, tree):
    return _Operation(op=op, name=name, wanted=wanted, tree=tree)


# One call of the C++ code. It needs no derivative rules: `DifferentiableOp` has them.
_run_p = Primitive("jaxrnn_kernel")
_run_p.multiple_results = True


def _shapes(flat, *, op, name, wanted, tree):
    """The shapes and dtypes of the results."""
    return _traced(op, name, wanted, tree, tuple((x.shape, x.dtype) for x in flat))


@lru_cache(maxsize=256)
def _traced(op, name, wanted, tree, given):
    leaves = [jax.ShapeDtypeStruct(*one) for one in given]
    run = partial(_native, op, name, wanted)
    return jax.eval_shape(run, jax.tree.unflatten(tree, leaves))


def _flat(run, *flat, op, name, wanted, tree):
    return jax.tree.leaves(run(op, name, wanted, jax.tree.unflatten(tree, flat)))


def _avals(*avals, **params):
    found = jax.tree.leaves(_shapes(avals, **params))
    return [abstract_result(avals, out.shape, out.dtype) for out in found]


def _shared(context):
    """Whether XLA must partition this operation, which it can do only for plain JAX.

    So it is inside a `shard_map` over some axes of a mesh: XLA partitions the others.
    """
    manual = getattr(context, "manual_axes", None)
    return manual is not None and 0 < len(manual) < len(context.mesh.axis_names)


def _lower(ctx, *flat, here, **params):
    module = ctx.module_context
    exported = module.lowering_parameters.for_export
    # a program lowered for several platforms has a branch for each: plain JAX off the CPU
    if not (here or exported) and len(module.platforms) == 1:
        raise NotImplementedError(
            "Fused() was traced for a CPU, and this program is lowered for "
            f"{module.platforms[0]}. Give strategy=jaxrnn.Auto(), which uses its kernels "
            "only on a CPU; or, to lower for a TPU on a machine without one, trace inside "
            'jaxrnn.strategies.on_platform("tpu").'
        )
    native = here and not exported and not _shared(module.axis_context)
    run = _native if native else _plain
    lower = mlir.lower_fun(partial(_flat, run), multiple_results=True)
    return lower(ctx, *flat, **params)


@lru_cache(maxsize=256)
def _compiled(**params):
    return jax.jit(partial(_run_p.bind, **params))


def _run_now(*flat, **params):
    # also under jax.disable_jit: there is no Python inside to step through
    with jax.disable_jit(False):
        return _compiled(**params)(*flat)


_run_p.def_impl(_run_now)
_run_p.def_abstract_eval(_avals)
mlir.register_lowering(_run_p, partial(_lower, here=True), platform="cpu")
mlir.register_lowering(_run_p, partial(_lower, here=False))
