"""A batch divided over devices: on 4 of them in a process of its own, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxrnn


ROOT = Path(__file__).parents[1]


def check(*options):
    flags = (
        "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    )
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.mesh_check", *options]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("all equal\n")


@pytest.mark.timeout(900)
def test_devices_together_give_what_one_gives():
    check()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_layer_under_every_strategy_over_devices():
    check("all")


MESH = jax.make_mesh((1, 1), ("data", "other"), (AxisType.Explicit,) * 2)
CELL = jaxrnn.GRU(3, 4)


def on(spec, x):
    return jax.device_put(x, NamedSharding(MESH, spec))


@pytest.mark.parametrize(
    "steps, state, message",
    [
        (
            P("data"),
            P(),
            "time axis of xs is divided over the mesh axis 'data'.*Sequence",
        ),
        (P(None, "data"), P("other"), "xs over 'data', that of state over 'other'"),
    ],
)
def test_divisions_that_cannot_work_are_refused(steps, state, message):
    params = on(P(), CELL.init(jax.random.key(0)))
    xs, state = on(steps, jnp.ones((5, 2, 3))), on(state, jnp.zeros((2, 4)))
    with pytest.raises(ValueError, match=message):
        jaxrnn.unroll(CELL, params, xs, state)


@pytest.mark.parametrize("given", [P(), P("data"), P("data", "other")])
def test_results_are_divided_like_the_inputs(given):
    params = on(P(), CELL.init(jax.random.key(0)))
    xs, state = on(P(None, "data"), jnp.ones((5, 2, 3))), on(given, jnp.zeros((2, 4)))
    state, ys = jaxrnn.unroll(CELL, params, xs, state, strategy=jaxrnn.Scan())
    assert jax.typeof(ys).sharding.spec == P(None, "data", None)
    rest = given[1] if len(given) > 1 else None
    assert jax.typeof(state).sharding.spec == P("data", rest)
