"""Device meshes: the types and shardings that loops and reshapes need.

Inside `jax.shard_map`, the arrays of a loop or a primitive must vary over the same mesh
axes; `aligned` casts them. With explicit mesh axes, the type of an array includes its
sharding, and JAX raises where it cannot infer the sharding of a result, such as after
merging time and batch. So `unroll` runs with automatic axes there (`on_automatic_axes`),
and its results are sharded like its inputs: over the mesh axis of the batch.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


Tree = TypeVar("Tree")


def aligned(tree: Tree, *like: Any) -> Tree:
    """Casts arrays so that all vary over every mesh axis that any of them or `like` does.

    Inside `jax.shard_map` an array's type names the mesh axes along which devices hold
    different values. A loop must keep the types of its carry, and all results of one of our
    primitives have the same type. The transpose of the cast is a sum over devices: with the
    cast outside the loop, the gradient of a replicated parameter is summed once, rather
    than in every step.
    """
    axes = _varying(map(jax.typeof, jax.tree.leaves((tree, like))))
    return jax.tree.map(lambda x: _cast(x, axes), tree) if axes else tree


def _varying(types: Any) -> frozenset:
    return frozenset().union(*(t.manual_axis_type.varying for t in types))


def _cast(x: Any, axes: frozenset) -> Any:
    missing = tuple(sorted(axes - _varying([jax.typeof(x)])))
    return jax.lax.pcast(x, missing, to="varying") if missing else x


def abstract(x: Any) -> jax.ShapeDtypeStruct:
    """The shape, the dtype and the varying mesh axes of an array or an abstract value."""
    # abstract evaluation of a primitive passes avals, everything else arrays or tracers
    kind = x if isinstance(x, jax.core.ShapedArray) else jax.typeof(x)
    if not _varying([kind]):
        return jax.ShapeDtypeStruct(x.shape, x.dtype)
    axes = kind.manual_axis_type
    return jax.ShapeDtypeStruct(
        x.shape, x.dtype, sharding=kind.sharding, manual_axis_type=axes
    )


def abstract_result(avals: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """The type of a primitive's result; `avals` are its arguments' types, all aligned."""
    mesh = avals[0].sharding.mesh
    sharding = NamedSharding(mesh, PartitionSpec(*(None for _ in shape)))
    return avals[0].update(shape=shape, dtype=dtype, weak_type=False, sharding=sharding)


def one_device() -> bool:
    """Whether no array of the traced program can be sharded over devices."""
    return jax.device_count() == 1 and jax.sharding.get_abstract_mesh().empty


def partly_manual() -> bool:
    """Whether this runs inside a `jax.shard_map` over some, but not all, axes of a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return 0 < len(mesh.manual_axes) < len(mesh.axis_names)


def on_automatic_axes(
    fn: Callable, params: Any, xs: Any, state: Any, masks: dict[str, Any]
) -> Callable:
    """Wraps `fn`, which returns `(state, ys)`, so that mesh axes are automatic inside it.

    Args:
        fn: a function of arrays.
        params: parameters, sharded in any way.
        xs, state: arrays `(T, B, ...)` and `(B, ...)`.
        masks: by name, the lengths, `(B,)`, and masks `(T, B)`. The sharding of the batch
            is read off `xs`, `state` and these.

    Raises:
        ValueError: if time is sharded over an explicit axis, or the batch is sharded
            differently in two arrays.
    """
    mesh = _explicit_mesh((params, xs, state, masks))
    if mesh is None:
        return fn
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    explicit = tuple(name for name, kind in kinds if kind == AxisType.Explicit)
    batch = _batch_axes(xs, state, masks)
    place = lambda *spec: NamedSharding(mesh, PartitionSpec(*spec))
    after = jax.tree.map(lambda s: place(*_like(s, batch)), state)
    # auto_axes wants the results' shardings, since types outside are explicit again; the
    # spec (None, batch) is a prefix that fits outputs of any rank
    return jax.sharding.auto_axes(
        fn, axes=explicit, out_sharding=(after, place(None, batch))
    )


def _explicit_mesh(tree: Any) -> Any:
    """The mesh with explicit axes of the arrays, or else of the context; None without."""
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(tree)]
    for mesh in (*meshes, jax.sharding.get_abstract_mesh()):
        if AxisType.Explicit in mesh.axis_types:
            return mesh
    return None


def _batch_axes(xs: Any, state: Any, masks: dict[str, Any]) -> Any:
    """The mesh axes that the batch is sharded over; None if it is replicated."""
    for name, x in (("xs", xs), *masks.items()):
        axes = () if name == "lengths" else _axes(x, 0)
        if axes:
            raise ValueError(
                f"the time axis of {name} is sharded over the mesh axis {axes[0]!r}, but "
                "steps run one after the other. Shard the batch, such as by "
                'jax.P(None, "data"); or, for linear cells, give '
                f"strategy=jaxrnn.SequenceParallel(mesh, {axes[0]!r}) and a mesh with "
                "axis_types=(jax.sharding.AxisType.Auto,)."
            )
    places = [("xs", xs, 1), ("state", state, 0)]
    places += [(name, x, int(name != "lengths")) for name, x in masks.items()]
    found = {name: axes for name, x, axis in places for axes in _axes(x, axis)}
    if len(set(found.values())) > 1:
        said = ", ".join(f"in {name} over {axes!r}" for name, axes in found.items())
        raise ValueError(
            f"the batch is sharded over different mesh axes: {said}. Give all arrays the "
            "same sharding, with jax.sharding.reshard, or leave some of them replicated."
        )
    return next(iter(found.values()), None)


def _axes(tree: Any, axis: int) -> list[Any]:
    """The mesh axes that this axis of the arrays is sharded over, where it is sharded."""
    return [spec for x in jax.tree.leaves(tree) if (spec := _spec(x)[axis]) is not None]


def _like(state: Any, batch: Any) -> tuple[Any, ...]:
    """The given state's spec with its batch sharded over `batch`."""
    rest = _spec(state)[1:]
    # a spec may name a mesh axis once: where both would, the batch has it
    taken = set(jax.tree.leaves((batch, *rest)))
    repeated = len(taken) < len(jax.tree.leaves((batch, *rest)))
    return (batch,) if repeated else (batch, *rest)


def _spec(x: Any) -> tuple[Any, ...]:
    spec = tuple(jax.typeof(x).sharding.spec)
    return (*spec, *[None] * (x.ndim - len(spec)))
