"""Arrays inside `jax.shard_map`: all of one computation vary over the same mesh axes."""

from typing import Any, TypeVar

import jax
from jax.sharding import NamedSharding, PartitionSpec


Tree = TypeVar("Tree")


def aligned(tree: Tree) -> Tree:
    """The arrays, each varying over every mesh axis that any of them varies over.

    Inside `jax.shard_map` an array's type names the axes along which devices hold different
    values. A loop must keep these types, and our primitives have one type for all of their
    results. The transpose of this cast is a sum over devices, so the gradient of a replicated
    parameter is summed once, and not in every step of a loop.
    """
    axes = _varying(map(jax.typeof, jax.tree.leaves(tree)))
    return jax.tree.map(lambda x: _cast(x, axes), tree) if axes else tree


def _varying(types: Any) -> frozenset:
    return frozenset().union(*(t.manual_axis_type.varying for t in types))


def _cast(x: Any, axes: frozenset) -> Any:
    missing = tuple(sorted(axes - _varying([jax.typeof(x)])))
    return jax.lax.pcast(x, missing, to="varying") if missing else x


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
