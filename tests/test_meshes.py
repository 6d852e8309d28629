"""A batch divided over 4 devices, in a separate process; and the cases that are refused."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxrnn

from .helpers import on_devices


@pytest.mark.timeout(900)
def test_devices_together_give_what_one_gives():
    assert on_devices(4, "mesh_check") == "all equal\n"


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_every_layer_under_every_strategy_over_devices():
    assert on_devices(4, "mesh_check", "all") == "all equal\n"


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
            "time axis of xs is sharded over the mesh axis 'data'.*Sequence",
        ),
        (P(None, "data"), P("other"), "xs over 'data', in state over 'other'"),
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
