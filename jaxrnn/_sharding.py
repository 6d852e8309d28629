"""Meshes: what loops and reshapes must be told of where arrays lie.

Inside `jax.shard_map` all arrays of one computation vary over the same mesh axes. With
explicit axes the type of an array says how it is divided, and JAX refuses what it cannot
decide alone, such as merging time and batch. There all of `unroll` runs with automatic axes,
and its results are divided like its inputs: rows over the mesh axis of the batch.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


Tree = TypeVar("Tree")


def aligned(tree: Tree, *like: Any) -> Tree:
    """The arrays, each varying over every mesh axis that any of them, or of `like`, does.

    Inside `jax.shard_map` an array's type names the axes along which devices hold different
    values. A loop must keep these types, and our primitives have one type for all of their
    results. The transpose of this cast is a sum over devices, so the gradient of a replicated
    parameter is summed once, and not in every step of a loop.
    """
    axes = _varying(map(jax.typeof, jax.tree.leaves((tree, like))))
    return jax.tree.map(lambda x: _cast(x, axes), tree) if axes else tree


def _varying(types: Any) -> frozenset:
    return frozenset().union(*(t.manual_axis_type.varying for t in types))


def _cast(x: Any, axes: frozenset) -> Any:
    missing = tuple(sorted(axes - _varying([jax.typeof(x)])))
    return jax.lax.pcast(x, missing, to="varying") if missing else x


def abstract(x: Any) -> jax.ShapeDtypeStruct:
    """The shape and dtype of an array, or of its type, and along what it varies."""
    kind = x if isinstance(x, jax.core.ShapedArray) else jax.typeof(x)
    if not _varying([kind]):
        return jax.ShapeDtypeStruct(x.shape, x.dtype)
    axes = kind.manual_axis_type
    return jax.ShapeDtypeStruct(
        x.shape, x.dtype, sharding=kind.sharding, manual_axis_type=axes
    )


def abstract_result(avals: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """The type of a primitive's result, for arguments of the types `avals`, all aligned."""
    mesh = avals[0].sharding.mesh
    sharding = NamedSharding(mesh, PartitionSpec(*(None for _ in shape)))
    return avals[0].update(shape=shape, dtype=dtype, weak_type=False, sharding=sharding)


def one_device() -> bool:
    """Whether no array of the program that is traced can be spread over devices."""
    return jax.device_count() == 1 and jax.sharding.get_abstract_mesh().empty


def partly_manual() -> bool:
    """Whether this is inside a `jax.shard_map` over some axes of its mesh, not all."""
    mesh = jax.sharding.get_abstract_mesh()
    return 0 < len(mesh.manual_axes) < len(mesh.axis_names)


def on_automatic_axes(
    fn: Callable, params: Any, xs: Any, state: Any, masks: dict[str, Any]
) -> Callable:
    """`fn`, which returns `(state, ys)`, with no mesh axis explicit while it runs.

    Args:
        fn: a function of arrays.
        params: parameters, divided in any way.
        xs, state: its arrays `(T, B, ...)` and `(B, ...)`.
        masks: by name, the lengths, `(B,)`, and masks `(T, B)`. All say how rows are
            divided.

    Raises:
        ValueError: for arrays of which time is divided over an explicit axis, or which are
            not divided alike.
    """
    mesh = _explicit_mesh((params, xs, state, masks))
    if mesh is None:
        return fn
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    explicit = tuple(name for name, kind in kinds if kind == AxisType.Explicit)
    rows = _rows(xs, state, masks)
    place = lambda *spec: NamedSharding(mesh, PartitionSpec(*spec))
    after = jax.tree.map(lambda s: place(*_like(s, rows)), state)
    return jax.sharding.auto_axes(
        fn, axes=explicit, out_sharding=(after, place(None, rows))
    )


def _explicit_mesh(tree: Any) -> Any:
    """The mesh with explicit axes that the arrays, or all that is made here, lie on."""
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(tree)]
    for mesh in (*meshes, jax.sharding.get_abstract_mesh()):
        if AxisType.Explicit in mesh.axis_types:
            return mesh
    return None


def _rows(xs: Any, state: Any, masks: dict[str, Any]) -> Any:
    """The mesh axes that rows are divided over; None if every device has all."""
    for name, x in (("xs", xs), *masks.items()):
        axes = () if name == "lengths" else _axes(x, 0)
        if axes:
            raise ValueError(
                f"the time axis of {name} is divided over the mesh axis {axes[0]!r}, but "
                'steps run in turn. Divide the batch, such as jax.P(None, "data"); or, '
                "for linear cells, give strategy=jaxrnn.SequenceParallel(mesh, "
                f"{axes[0]!r}) and a mesh with axis_types=(jax.sharding.AxisType.Auto,)."
            )
    places = [("xs", xs, 1), ("state", state, 0)]
    places += [(name, x, int(name != "lengths")) for name, x in masks.items()]
    found = {name: axes for name, x, axis in places for axes in _axes(x, axis)}
    if len(set(found.values())) > 1:
        said = ", ".join(
            f"that of {name} over {axes!r}" for name, axes in found.items()
        )
        raise ValueError(
            f"the batch is divided over different mesh axes: {said}. Divide all alike, "
            "with jax.sharding.reshard; or leave some undivided."
        )
    return next(iter(found.values()), None)


def _axes(tree: Any, axis: int) -> list[Any]:
    """What this axis of the arrays is divided over, where it is."""
    return [spec for x in jax.tree.leaves(tree) if (spec := _spec(x)[axis]) is not None]


def _like(state: Any, rows: Any) -> tuple[Any, ...]:
    """The division of a state given, with its rows divided over `rows`."""
    rest = _spec(state)[1:]
    taken = set(jax.tree.leaves((rows, *rest)))
    repeated = len(taken) < len(jax.tree.leaves((rows, *rest)))
    return (rows,) if repeated else (rows, *rest)


def _spec(x: Any) -> tuple[Any, ...]:
    spec = tuple(jax.typeof(x).sharding.spec)
    return (*spec, *[None] * (x.ndim - len(spec)))
