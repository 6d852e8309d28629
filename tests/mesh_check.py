"""Run in a process of its own, with 4 CPU devices: a batch spread over them changes nothing.

Every row, a layer and a strategy, runs in every context that divides a batch, and is
compared with one device. Prints "all equal" at its end; `test_meshes.py` starts it.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxrnn
from jaxrnn import testing as testing
from jaxrnn.testing._case import (
    awkward_lengths,
    awkward_resets,
    cotangents,
    is_float,
    make_case,
)
from tests.helpers import example


TIME, BATCH = 5, 4
ROWS, STEPS = P("data"), P(None, "data")


class Row:
    """A layer and a strategy: what is run, and where its arguments and results lie."""

    def __init__(self, layer, strategy, *, marked=True):
        self.name = f"{layer} {strategy}"
        case = make_case(layer, TIME, BATCH, 0, example(layer))
        marks = (None, None)
        if marked:
            marks = (
                jnp.asarray(awkward_lengths(case)),
                jnp.asarray(awkward_resets(case)),
            )

        def run(params, xs, state, marks):
            return jaxrnn.unroll(
                layer, params, xs, state, lengths=marks[0], resets=marks[1],
                strategy=strategy,
            )  # fmt: skip

        given = (case.params, case.xs, case.state, marks)
        weights = cotangents(case.key, jax.eval_shape(run, *given))
        self.args = (*given, weights)
        self.specs = (P(), STEPS, ROWS, (ROWS, STEPS), (ROWS, STEPS))
        self.run = run

    def both(self, params, xs, state, marks, weights):
        """Values, and gradients of parameters, inputs and states."""
        floating = all(map(is_float, jax.tree.leaves(xs)))

        def scalar(params, inputs, state):
            out = self.run(params, inputs if floating else xs, state, marks)
            products = jax.tree.map(lambda w, o: jnp.sum(w * o).real, weights, out)
            return sum(jax.tree.leaves(products)), out

        inputs = xs if floating else ()
        value, pull, out = jax.vjp(scalar, params, inputs, state, has_aux=True)
        return pull(jnp.ones_like(value)), out


def out_specs(row):
    """Where gradients and values lie."""
    floating = all(map(is_float, jax.tree.leaves(row.args[1])))
    return (P(), STEPS if floating else P(), ROWS), (ROWS, STEPS)


def mesh_of(count, kind):
    return jax.make_mesh((count,), ("data",), (kind,), devices=jax.devices()[:count])


def pmapped(row, count):
    """`pmap`, which leaves the sum of gradients to the user."""

    def both(*args):
        (d_params, *rest), out = row.both(*args)
        return (jax.lax.psum(d_params, "data"), *rest), out

    def split(spec, x):
        axis = tuple(spec).index("data") if spec else None
        if axis is None:
            return x
        shape = (*x.shape[:axis], count, -1, *x.shape[axis + 1 :])
        return jnp.moveaxis(x.reshape(shape), axis, 0)

    def joined(spec, x):
        axis = tuple(spec).index("data") if spec else None
        if axis is None:
            return x[0]
        x = jnp.moveaxis(x, 0, axis)
        return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

    axes = tuple(over(lambda spec, _: 0 if spec else None, row.specs, row.args))
    fn = jax.pmap(both, axis_name="data", in_axes=axes, devices=jax.devices()[:count])
    return lambda *args: over(joined, out_specs(row), fn(*over(split, row.specs, args)))


def over(fn, specs, tree):
    """`fn(spec, leaf)` over a tree of which specs are a prefix."""
    is_spec = lambda x: isinstance(x, P)
    inside = lambda spec, part: jax.tree.map(partial(fn, spec), part)
    return jax.tree.map(inside, specs, tree, is_leaf=is_spec)


CONTEXTS = ["auto", "explicit", "shard_map", "pmap"]


def results(row, context, count):
    """Gradients and values as the context gives them, and the compiled program's text."""
    if context == "pmap":
        return pmapped(row, count)(*row.args), ""
    fn, args = row.both, row.args
    if context == "shard_map":
        fn = jax.shard_map(
            fn, mesh=mesh_of(count, AxisType.Auto), in_specs=row.specs,
            out_specs=out_specs(row),
        )  # fmt: skip
    else:
        mesh = mesh_of(count, AxisType.Auto if context == "auto" else AxisType.Explicit)
        place = lambda spec, x: jax.device_put(x, NamedSharding(mesh, spec))
        args = over(place, row.specs, args)
    program = jax.jit(fn).lower(*args).compile()
    return program(*args), program.as_text()
