"""Kernels over four devices of this host: run by tests/test_kernel_meshes.py."""

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxrnn
from jaxrnn import GRU, LSTM, Fused, LearnedState, MinGRU, PeepholeLSTM, Scan, testing


MESH = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
CELLS = [
    LSTM(3, 5),
    GRU(3, 5),
    GRU(3, 5, reset_after=False),
    PeepholeLSTM(3, 5),
    LearnedState(LSTM(3, 5)),
    MinGRU(3, 5),
]


def problem(cell):
    """Arguments of `run`, and their sharding."""
    params = cell.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (6, 8, 3))
    lengths = jnp.array([6, 0, 1, 3, 6, 6, 2, 4])
    resets = jnp.arange(48).reshape(6, 8) % 5 == 0
    places = P(), P(None, "data"), P("data"), P(None, "data")
    return (params, xs, lengths, resets), places


def runner(cell, strategy):
    """Outputs, and gradients of params and inputs."""

    def loss(params, xs, lengths, resets):
        state, ys = jaxrnn.unroll(
            cell, params, xs, lengths=lengths, resets=resets, strategy=strategy
        )
        squares = (jnp.sum(s**2) for s in jax.tree.leaves(state))
        return jnp.sum(jnp.sin(ys)) + sum(squares), ys

    return jax.value_and_grad(loss, (0, 1), has_aux=True)


def check(cell):
    """Under jit, where only the compiler knows the mesh, and inside shard_map."""
    args, places = problem(cell)
    want = jax.jit(runner(cell, Scan()))(*args)
    run = runner(cell, Fused())
    there = [
        jax.device_put(arg, NamedSharding(MESH, place))
        for arg, place in zip(args, places, strict=True)
    ]
    compiled = jax.jit(run).lower(*there).compile()
    testing.assert_close("mesh", f"jit, {cell}", compiled(*there), want, 1e-5)
    text = compiled.as_text()
    assert text.count('custom_call_target="jaxrnn_') == 2, "forward and backward"
    assert "all-gather" not in text, f"{cell}: the batch is gathered"
    assert "f32[6,2,5]" in text, "each device runs its own two sequences"

    def local(*args):
        (value, ys), grads = run(*args)
        return (jax.lax.psum(value, "data"), ys), grads

    out_places = ((P(), P(None, "data")), (P(), P(None, "data")))
    mapped = jax.shard_map(local, mesh=MESH, in_specs=places, out_specs=out_places)
    testing.assert_close(
        "mesh", f"shard_map, {cell}", jax.jit(mapped)(*args), want, 1e-5
    )


def check_over_some_axes():
    """shard_map over one axis of two: plain JAX runs, and the compiler divides it."""
    auto = (AxisType.Auto, AxisType.Auto)
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=auto)
    (params, xs, *_), (replicated, rows, *_) = problem(LSTM(3, 5))
    run = lambda params, xs: jaxrnn.unroll(LSTM(3, 5), params, xs, strategy=Fused())[1]
    options = {
        "in_specs": (replicated, rows),
        "out_specs": rows,
        "axis_names": {"data"},
    }
    got = jax.jit(jax.shard_map(run, mesh=mesh, **options))(params, xs)
    testing.assert_close("mesh", "some axes", got, run(params, xs), 1e-5)


for cell in CELLS:
    check(cell)
check_over_some_axes()
print("all equal")
