"""The law of meshes: the batch divided over devices, in each of the ways that JAX offers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from .._layer import Layer
from ..strategies import Auto
from ._by_steps import outputs_like
from ._case import Case, Unrolled, case_of, cotangents, join, label_of, split
from ._compare import LawBroken, assert_close


WAYS = ("auto", "explicit", "shard_map", "pmap")
FLOAT32 = 1e-5  # of the largest entry
ROWS = PartitionSpec("data")
STEPS = PartitionSpec(None, "data")


def check_mesh(layer: Layer, ways: Any = WAYS, **how: Any) -> None:
    """Checks that a batch divided over two devices gives the values and gradients of one.

    The batch is divided under `jax.jit` over Auto and over Explicit axes, inside
    `jax.shard_map` with its checks on, and under `jax.pmap`.

    Args:
        layer: any layer.
        ways: any of "auto", "explicit", "shard_map" and "pmap".
        **how: `x` and `seed` as for `check_cell`; `time` and `batch`; `strategy`.

    Raises:
        RuntimeError: if JAX has only one device.
        LawBroken: with the way, the place, and by how much.
    """
    if len(jax.devices()) < 2:
        raise RuntimeError(
            "check_mesh needs 2 devices, and JAX has 1. On CPU, set XLA_FLAGS="
            "--xla_force_host_platform_device_count=2 before JAX starts."
        )
    strategy = how.pop("strategy", Auto())
    case = case_of(layer, how)
    weights = split(cotangents(case.seed, outputs_like(case)))[0]
    run = partial(Unrolled(strategy), layer)
    given = case.params, case.xs, case.state
    want = jax.tree.map(np.asarray, jax.jit(partial(_both, run))(given, weights))
    for way in ways:
        got = _WAYS[way](run, case, given, weights)
        got = jax.tree.map(np.asarray, got)
        label = f"{label_of(case, strategy)} over 2 devices, {way}"
        assert_close("mesh", label, got, want, FLOAT32)


def _both(run: Callable, given: Any, weights: Any) -> Any:
    """The float leaves of the outputs, and the gradients."""
    floats, rest = split(given)
    out, pull = jax.vjp(lambda floats: split(run(*join(floats, rest)))[0], floats)
    return out, pull(weights)[0]


def _mesh(kind: AxisType) -> jax.sharding.Mesh:
    return jax.make_mesh((2,), ("data",), (kind,), devices=jax.devices()[:2])


def _jitted(kind: AxisType, run: Callable, case: Case, given: Any, weights: Any) -> Any:
    mesh = _mesh(kind)

    def place(tree, spec):
        return jax.device_put(tree, NamedSharding(mesh, spec))

    params, xs, state = given
    given = place(params, PartitionSpec()), place(xs, STEPS), place(state, ROWS)
    weights = place(weights[0], ROWS), place(weights[1], STEPS)
    got = jax.jit(partial(_both, run))(given, weights)
    for leaf in jax.tree.leaves(got[0][1]):
        if leaf.sharding.is_fully_replicated:
            raise LawBroken(
                f"mesh: {case.layer}: the batch of the inputs is divided over devices, but "
                "the outputs are replicated on all of them."
            )
    return got


def _shard_mapped(run: Callable, case: Case, given: Any, weights: Any) -> Any:
    """The mapped gradient, after a check that it equals the gradient of the mapped function."""
    mesh = _mesh(AxisType.Auto)
    specs = (PartitionSpec(), STEPS, ROWS)
    outs = (ROWS, STEPS)
    mapped = jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=outs)
    outside = jax.jit(partial(_both, mapped))(given, weights)
    inside = jax.shard_map(
        partial(_both, run),
        mesh=mesh,
        in_specs=(specs, outs),
        out_specs=(outs, specs),
    )
    got = jax.jit(inside)(given, weights)
    outside = jax.tree.map(np.asarray, outside)
    got = jax.tree.map(np.asarray, got)
    label = f"{case.layer}: gradients inside jax.shard_map"
    assert_close("mesh", label, got, outside, FLOAT32)
    return got


def _pmapped(run: Callable, case: Case, given: Any, weights: Any) -> Any:
    """Each half of the batch on a device; the results joined, and gradients of params added."""
    params, xs, state = given

    def halves(axis):
        return lambda leaf: jnp.stack(jnp.split(leaf, 2, axis))

    def whole(axis):
        return lambda leaf: np.concatenate(list(np.asarray(leaf)), axis)

    tree = jax.tree.map
    given = (
        tree(lambda p: jnp.stack([p, p]), params),
        tree(halves(1), xs),
        tree(halves(0), state),
    )
    weights = tree(halves(0), weights[0]), tree(halves(1), weights[1])
    both = jax.pmap(partial(_both, run), devices=jax.devices()[:2])
    (state, ys), (d_params, d_xs, d_state) = both(given, weights)
    out = tree(whole(0), state), tree(whole(1), ys)
    total = lambda leaf: np.sum(np.asarray(leaf), 0, leaf.dtype)
    return out, (tree(total, d_params), tree(whole(1), d_xs), tree(whole(0), d_state))


_WAYS: dict[str, Callable] = {
    "auto": partial(_jitted, AxisType.Auto),
    "explicit": partial(_jitted, AxisType.Explicit),
    "shard_map": _shard_mapped,
    "pmap": _pmapped,
}
