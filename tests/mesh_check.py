"""Checks, in a process with 4 CPU devices, that dividing a batch over them changes nothing.

Every row, a layer and a strategy, runs in every context that divides a batch, and is
compared with one device. Prints "all equal" at its end; `test_meshes.py` starts it, with
"all" for every layer and strategy.
"""

import contextlib
import re
import sys
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxrnn
from jaxrnn import GRU, LSTM, Bidirectional, DeltaNet, IndRNN, MinGRU, Stack, testing
from jaxrnn.testing._case import (
    awkward_lengths,
    awkward_resets,
    cotangents,
    is_float,
    make_case,
)
from tests.helpers import LAYERS, LINEAR, MATRIX, example


TIME, BATCH = 5, 4
ROWS, STEPS = P("data"), P(None, "data")


class Row:
    """A layer and a strategy, with the sharding of their arguments and results."""

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
        weights = cotangents(case.seed, jax.eval_shape(run, *given))
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
    """The sharding of gradients and values."""
    floating = all(map(is_float, jax.tree.leaves(row.args[1])))
    return (P(), STEPS if floating else P(), ROWS), (ROWS, STEPS)


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


def results(row, context, count):
    """Gradients and values as the context gives them, and the compiled program's text."""
    if context == "pmap":
        return pmapped(row, count)(*row.args), ""
    kind = AxisType.Explicit if context in EXPLICIT else AxisType.Auto
    devices = jax.devices()[:count]
    mesh = jax.make_mesh((count,), ("data",), (kind,), devices=devices)
    fn, args = row.both, row.args
    if context == "shard_map":
        fn = jax.shard_map(fn, mesh=mesh, in_specs=row.specs, out_specs=out_specs(row))
    else:
        args = over(
            lambda s, x: jax.device_put(x, NamedSharding(mesh, s)), row.specs, args
        )
    here = jax.set_mesh(mesh) if context == "set_mesh" else contextlib.nullcontext()
    with here:
        program = jax.jit(fn).lower(*args).compile()
        return program(*args), program.as_text()


def check(layer, strategy, contexts, count, *, marked):
    """Checks values and gradients in each context, and the communication between devices."""
    row = Row(layer, strategy, marked=marked)
    want = jax.jit(Row(layer, jaxrnn.Scan(), marked=marked).both)(*row.args)
    for context in contexts:
        got, text = results(row, context, count)
        what = f"{row.name}, {context} of {count}"
        testing.assert_close("mesh", what, got, want, 1e-5)
        assert "all-gather" not in text, f"{what}: the batch is gathered"
        if context == "shard_map":
            assert not in_loops(text, "all-reduce"), f"{what}: a sum in every step"


def in_loops(text, operation):
    """Whether the compiled HLO has the operation in the body of a loop."""
    parts = re.split(r"\n(?=(?:ENTRY )?%?[\w.\-]+ \()", text)
    bodies = {re.match(r"(?:ENTRY )?%?([\w.\-]+)", part)[1]: part for part in parts}
    callee = r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)"
    todo, seen = re.findall(r"body=%?([\w.\-]+)", text), set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += re.findall(callee, bodies[name])
    return any(f" {operation}(" in bodies[name] for name in seen)


CONTEXTS = ["auto", "explicit", "set_mesh", "shard_map", "pmap"]
EXPLICIT = "explicit", "set_mesh"
SOME = [
    (GRU(3, 5), jaxrnn.Scan()),
    (GRU(3, 5), jaxrnn.Hoisted()),
    (MinGRU(3, 4), jaxrnn.Chunked(2)),
    (MinGRU(3, 4), jaxrnn.Associative()),
    (DeltaNet(3, 4, heads=2), jaxrnn.Chunked(2)),  # the last chunk has one step
    (GRU(3, 5), jaxrnn.Newton()),
    (Stack((LSTM(3, 3), LSTM(3, 3))), jaxrnn.Wavefront()),
    (Bidirectional(IndRNN(3, 4)), jaxrnn.Checkpointed(2)),
]


def every_row():
    """Every layer under the strategies that accept it."""
    for layer in LAYERS + LINEAR + MATRIX:
        for strategy in (jaxrnn.Scan(), jaxrnn.Hoisted(), jaxrnn.Checkpointed(2)):
            yield layer, strategy
    for layer in LINEAR + MATRIX:
        yield layer, jaxrnn.Chunked(2)
    for layer in LINEAR:
        yield layer, jaxrnn.Associative()
    for layer in (GRU(3, 5), MinGRU(3, 4), jaxrnn.ParaGRU(3, 4), jaxrnn.ParaLSTM(3, 4)):
        yield layer, jaxrnn.Newton()
    yield GRU(3, 4), jaxrnn.Newton(jacobian=jaxrnn.strategies.DiagonalJacobian())
    yield MinGRU(3, 4), jaxrnn.Newton(damping=0.1)
    for layer in (Stack((GRU(3, 3),) * 3), Bidirectional(LSTM(3, 4))):
        yield layer, jaxrnn.Wavefront()


if __name__ == "__main__":
    assert jax.device_count() == 4
    if "all" in sys.argv:
        for layer, strategy in every_row():
            check(layer, strategy, CONTEXTS, 2, marked=True)
    else:
        for i, row in enumerate(SOME):
            # 2 and 4 devices, with and without masks. Three rows run in every context: under
            # automatic axes and pmap, XLA divides the program without help from the types.
            contexts = CONTEXTS if i in (0, 1, 5) else ["explicit", "shard_map"]
            check(*row, contexts, 4 if i % 2 else 2, marked=i % 4 < 2)
    print("all equal")
