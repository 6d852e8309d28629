"""Time divided over 8 devices, in a separate process; and the cases that are refused."""

import jax
import jax.numpy as jnp
import pytest

import jaxrnn

from .helpers import Decay, on_devices


def test_eight_devices_give_what_one_gives_and_send_carries_alone():
    assert on_devices(8, "sequence_parallel_check").endswith("all equal\n")


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
    with pytest.raises(NotImplementedError, match=r"cannot run GRU.*not a LinearCell"):
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
