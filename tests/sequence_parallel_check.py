"""Checks, in a process with 8 CPU devices, that dividing time over them changes nothing.

Prints "all equal" at its end; `test_sequence_parallel.py` starts it.
"""

import re
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxrnn
from jaxrnn import testing
from jaxrnn.testing._case import make_case, value_and_grads
from jaxrnn.testing._laws import make_options
from tests.helpers import Decay


TIME, BATCH = 64, 4


@dataclass(frozen=True)
class Spiral(jaxrnn.LinearCell):
    """A complex state in two parts: s' = exp(i w) sigmoid(x) s + x, r' = r / 2 + x."""

    input_size: int = 3

    def init(self, key):
        return jax.random.normal(key, (self.input_size,))

    def initial_state(self, params):
        kind = jnp.complex128 if params.dtype == jnp.float64 else jnp.complex64
        return jnp.zeros(self.input_size, kind), jnp.ones_like(params)

    def coefficients(self, params, z):
        turn = jnp.exp(1j * params) * jax.nn.sigmoid(z)
        return (turn, jnp.full_like(z, 0.5)), (z.astype(turn.dtype), z)

    def readout(self, params, state, z):
        return jnp.real(state[0]) + state[1] * params


def spread(mesh, *axes):
    return lambda tree: jax.device_put(tree, NamedSharding(mesh, PartitionSpec(*axes)))


def check_values_and_gradients(strategy, layer, names):
    """Law S, in float64, on inputs with the sharding that the strategy wants."""
    with jax.enable_x64(True):
        case = make_case(layer, TIME, BATCH, 0)
        options = make_options(case, names)

        def run(strategy):
            return lambda layer, params, xs, state: jaxrnn.unroll(
                layer, params, xs, state, strategy=strategy, **options
            )

        xs = spread(strategy.mesh, strategy.axis, strategy.batch_axis)(case.xs)
        got = value_and_grads(run(strategy), case, xs)
        want = value_and_grads(run(jaxrnn.Scan()), case)
        testing.assert_close("Law S", f"{layer} {strategy} {names}", got, want, 1e-9)


def check_a_complex_state(strategy):
    """The same for a state with a real and a complex part."""
    with jax.enable_x64(True):
        cell = Spiral()
        params = cell.init(jax.random.key(0))
        xs = jax.random.normal(jax.random.key(1), (TIME, BATCH, 3))

        def loss(params, xs, strategy):
            state, ys = jaxrnn.unroll(cell, params, xs, strategy=strategy)
            squares = sum(jnp.sum(jnp.abs(s) ** 2) for s in state)
            return squares + jnp.sum(jnp.sin(ys)), (state, ys)

        both = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
        got, want = (both(params, xs, s) for s in (strategy, jaxrnn.Scan()))
        testing.assert_close("Law S", f"{cell} {strategy}", got, want, 1e-9)


def collectives(text):
    """The collective operations of the compiled HLO, with the sizes of their results."""
    kinds = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
    found = re.findall(rf"= (.*?) ({kinds})(?:-start)?\(", text)
    return [(kind, _numbers(shapes)) for shapes, kind in found]


def _numbers(shapes):
    sizes = [dims.split(",") for dims in re.findall(r"\w\[([\d,]*)\]", shapes)]
    return sum(int(np.prod([int(d) for d in dims if d])) for dims in sizes)


def check_what_is_sent(strategy):
    """The sequence stays where it is: the amount of data sent does not grow with T."""
    devices = strategy.mesh.shape[strategy.axis]
    width = 16
    cell = Decay(width)
    params = cell.init(jax.random.key(0))

    def loss(params, xs):
        _, ys = jaxrnn.unroll(cell, params, xs, strategy=strategy)
        return jnp.sum(ys**2), ys

    place = spread(strategy.mesh, strategy.axis, strategy.batch_axis)
    rows = BATCH // strategy.mesh.shape.get(strategy.batch_axis, 1)
    xs = place(jnp.ones((256, BATCH, width)))
    _, forward = compiled(lambda params, xs: loss(params, xs)[1], params, xs)
    gathers = [size for kind, size in forward if kind == "all-gather"]
    assert gathers == [2 * devices * rows * width], gathers

    gradients, sent = jax.grad(loss, argnums=(0, 1), has_aux=True), []
    for time in (256, 1024):
        xs = place(jnp.ones((time, BATCH, width)))
        both, found = compiled(gradients, params, xs)
        (_, d_xs), ys = both(params, xs)
        assert ys.sharding.spec[0] == d_xs.sharding.spec[0] == strategy.axis
        largest = max(size for _, size in found)
        assert largest <= 2 * devices * BATCH * width < time * BATCH * width / 8
        sent.append(found)
    assert sent[0] == sent[1], sent


def compiled(fn, *args):
    """The function, compiled for these arguments, and its collective operations."""
    program = jax.jit(fn).lower(*args).compile()
    return program, collectives(program.as_text())


if __name__ == "__main__":
    assert jax.device_count() == 8
    auto = 2 * (AxisType.Auto,)
    one = jaxrnn.SequenceParallel(jax.make_mesh((8,), ("time",), auto[:1]), "time")
    both = jax.make_mesh((4, 2), ("t", "rows"), auto)
    two = jaxrnn.SequenceParallel(both, "t", "rows")
    for names in ([], ["lengths", "mask", "resets", "reverse"]):
        check_values_and_gradients(one, Decay(3), names)
    check_a_complex_state(one)
    check_values_and_gradients(two, Decay(3), ["resets"])
    for strategy in (one, two):
        check_what_is_sent(strategy)
    print("all equal")
