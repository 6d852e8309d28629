"""Time divided over devices: on 8 of them in a process of its own, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import jaxrnn

from .helpers import Decay


ROOT = Path(__file__).parents[1]


def test_eight_devices_give_what_one_gives_and_send_carries_alone():
    flags = "--xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.sequence_parallel_check"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("all equal\n")


AUTO, EXPLICIT = (
    jax.make_mesh((1,), ("time",), (kind,))
    for kind in (jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit)
)


def test_one_device_is_a_mesh_as_well():
    jaxrnn.testing.check_strategy(
        jaxrnn.SequenceParallel(AUTO, "time"), Decay(3), time=7, batch=2
    )


def test_cells_and_lengths_that_do_not_divide_are_refused():
    strategy = jaxrnn.SequenceParallel(AUTO, "time")
    gru = jaxrnn.GRU(3, 4)
    params = gru.init(jax.random.key(0))
    with pytest.raises(NotImplementedError, match="not an element-wise linear cell"):
        jaxrnn.unroll(gru, params, jnp.ones((8, 2, 3)), strategy=strategy)
    eight = jax.sharding.AbstractMesh((8,), ("time",))
    object.__setattr__(strategy, "mesh", eight)
    with pytest.raises(NotImplementedError, match="T=12 cannot be divided into 8"):
        strategy.check(Decay(3), None, None, jnp.ones((12, 2, 3)))


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: jaxrnn.SequenceParallel(8, "time"), TypeError, "mesh of devices"),
        (lambda: jaxrnn.SequenceParallel(AUTO, "data"), ValueError, "no axis 'data'"),
        (
            lambda: jaxrnn.SequenceParallel(EXPLICIT, "time"),
            ValueError,
            "Explicit.*AxisType.Auto",
        ),
        (
            lambda: jaxrnn.SequenceParallel(AUTO, "time", "time"),
            ValueError,
            "give two axes",
        ),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
