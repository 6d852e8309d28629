"""The kernels for NVIDIA GPUs without a simulator: division by units, sizes, refusals.

The step of each cell is evaluated on pieces in plain JAX, as the kernel does in registers,
and compared with the whole. `test_pallas_gpu.py` runs the kernels themselves.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.kernels import pallas_gpu
from jaxrnn.kernels.pallas_gpu._pieces import (
    Columns,
    Evaluator,
    Sizes,
    Uniform,
    Vector,
    vector_axis,
)
from jaxrnn.strategies import on_platform
from jaxrnn.strategies._masked import Masked, MaskedInput
from jaxrnn.strategies.fused import _gpu
from jaxrnn.strategies.hoisted._step_gradients import Unique


H = 64
CELLS = {
    "LSTM": jaxrnn.LSTM(3, H),
    "LSTM-coupled": jaxrnn.LSTM(3, H, coupled=True),
    "GRU-after": jaxrnn.GRU(3, H),
    "GRU-before": jaxrnn.GRU(3, H, reset_after=False),
    "Elman": jaxrnn.Elman(3, H),
    "Elman-relu": jaxrnn.Elman(3, H, activation=jax.nn.relu),
    "MGU": jaxrnn.MGU(3, H),
    "PeepholeLSTM": jaxrnn.PeepholeLSTM(3, H),
    "IndRNN": jaxrnn.IndRNN(3, H),
}


def example(cell, time, batch):
    keys = jax.random.split(jax.random.key(0), 6)
    params = cell.init(keys[0])
    # biases and peepholes are zero at first, where a wrong one would not show
    params = jax.tree.map(
        lambda p: p + 0.1 * jax.random.normal(keys[1], p.shape), params
    )
    state = jax.tree.map(
        lambda s: jax.random.normal(keys[2], (batch, *s.shape)),
        cell.initial_state(params),
    )
    xs = jax.random.normal(keys[3], (time, batch, 3))
    lengths = jax.random.randint(keys[4], (batch,), 0, time + 1)
    resets = jax.random.bernoulli(keys[5], 0.4, (time, batch))
    return params, state, xs, lengths, resets


def reference(body, matmuls, constants, carry, xs, *, reverse=False):
    """`pallas_gpu.scan` by its definition: an operand depends on earlier products only."""

    def step(carry, x):
        batch = jax.tree.leaves(carry)[0].shape[0]
        products = [jnp.zeros((batch, m.weight.shape[1]), m.dtype) for m in matmuls]
        for i, matmul in enumerate(matmuls):
            operand = body(constants, carry, x, tuple(products))[0][i]
            wide = jnp.dot(operand, matmul.weight, preferred_element_type=jnp.float32)
            products[i] = wide.astype(matmul.dtype)
        return body(constants, carry, x, tuple(products))[1:]

    return jax.lax.scan(step, carry, xs, reverse=reverse)


def step_by_pieces(arguments, blocks):
    """The operands, the carry and y of the first step, each block on its own pieces."""
    body, matmuls, constants, carry, xs = arguments
    batch = jax.tree.leaves(carry)[0].shape[0]
    x = jax.tree.map(lambda x: x[0], xs)
    products = tuple(jnp.zeros((batch, m.weight.shape[1]), m.dtype) for m in matmuls)
    traced = jax.make_jaxpr(body)(constants, carry, x, products)
    sizes = Sizes(batch, H, batch, H // blocks)
    given = jax.tree.leaves((constants, carry, x))
    evaluators = []

    def product(i, block):
        own = [e.full(e.output(i), len_of(traced.out_avals[i])) for e in evaluators]
        operand = jnp.concatenate(
            [p for gate in zip(*own, strict=True) for p in gate], axis=1
        )
        y = jnp.dot(operand, matmuls[i].weight).astype(matmuls[i].dtype)
        return piece(y, sizes, block)

    len_of = lambda aval: aval.shape[1] // H
    for block in range(blocks):
        inputs = [lambda a=a, block=block: piece(a, sizes, block) for a in given]
        inputs += [
            lambda i=i, block=block: product(i, block) for i in range(len(matmuls))
        ]
        evaluators.append(Evaluator(traced, inputs, sizes))
    outs = []
    for i, aval in enumerate(traced.out_avals):
        own = [e.full(e.output(i), len_of(aval)) for e in evaluators]
        outs.append(
            jnp.concatenate(
                [jnp.asarray(p, aval.dtype) for g in zip(*own, strict=True) for p in g],
                1,
            )
        )
    return outs


def piece(a, sizes, block):
    """The part of an array that a block owns."""
    units = sizes.units
    columns = lambda x, g: x[..., g * H + block * units : g * H + (block + 1) * units]
    if count := sizes.columns(a.shape):
        return Columns(tuple(columns(a, g) for g in range(count)))
    if a.ndim == 0:
        return Uniform(a)
    flat = a.reshape(-1)
    by_units = lambda: tuple(columns(flat, g) for g in range(flat.size // H))
    of = {"rows": lambda: (flat,), "units": by_units}
    return Vector(lambda axis: of[axis](), vector_axis(a.shape))


def arguments_of(cell, batch):
    """The arguments of both loops of a masked cell, for one step."""
    params, state, xs, _, resets = example(cell, time=1, batch=batch)
    masked = Masked(cell)
    valid = jnp.arange(batch)[None] % 3 > 0
    xs = MaskedInput(xs, valid, resets)
    step, _ = _gpu._partitioned(masked, params, state, xs)
    zs = jax.vmap(jax.vmap(lambda x: masked.project(params, x)))(xs)
    hoisted = step.hoist(params)
    forward = _gpu._Forward(step, state).arguments(hoisted, state, zs)
    z = jax.tree.map(lambda z: z[0], zs)
    shapes = _gpu._products(step, hoisted, state, z)[1]
    products = [jax.random.normal(jax.random.key(8), (1, *p.shape)) for p in shapes]
    d_state = [jnp.sin(s) for s in jax.tree.leaves(state)]
    before = jax.tree.map(lambda s: s[None], state)
    steps = (before, zs, products, [d[None] for d in d_state])
    backward = _gpu._Backward(step, Unique()).arguments(hoisted, d_state, steps)
    return SimpleNamespace(forward=forward, backward=backward)


# with as many sequences as units, a vector's length does not say what it is
BATCHES = [
    *((name, 3) for name in CELLS),
    ("PeepholeLSTM", H),
    ("IndRNN", H),
    ("LSTM", 1),
]


@pytest.mark.parametrize(("name", "batch"), BATCHES)
def test_a_step_on_pieces_equals_the_whole(name, batch):
    given = arguments_of(CELLS[name], batch)
    for loop in (given.forward, given.backward):
        found = step_by_pieces(loop, blocks=2)
        carry, ys = reference(*loop)
        whole = [*jax.tree.leaves(carry), *(y[0] for y in jax.tree.leaves(ys))]
        found = found[len(found) - len(whole) :]
        for a, b in zip(found, whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


REFUSED = {
    "reduce": (jaxrnn.LayerNormLSTM(3, H), "reduce_sum|integer_pow|mean"),
    "heads": (jaxrnn.SLSTM(3, H, heads=2), "several heads"),
    "units": (jaxrnn.LSTM(3, 96), "multiple of 64"),
    "weights": (jaxrnn.LSTM(3, 2048), "fewer units than 2048"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name):
    cell, reason = REFUSED[name]
    params, state, xs, *_ = jax.eval_shape(lambda: example(cell, 2, 3))
    with pytest.raises(NotImplementedError, match=reason):
        jax.eval_shape(lambda *a: _gpu._check(cell, *a), params, state, xs)


def test_a_precision_that_tensor_cores_do_not_have_is_refused():
    cell = CELLS["Elman"]
    params, state, xs, *_ = example(cell, 2, 3)
    with jax.default_matmul_precision("highest"):
        with pytest.raises(pallas_gpu.NotByUnit, match="TensorFloat-32"):
            jax.eval_shape(lambda *a: _gpu._check(cell, *a), params, state, xs)


def test_a_linear_cell_is_refused():
    cell = jaxrnn.LRU(3, H)
    params = cell.init(jax.random.key(0))
    with on_platform("gpu"), pytest.raises(NotImplementedError, match="Chunked"):
        jaxrnn.unroll(cell, params, jnp.ones((2, 3, 3)), strategy=jaxrnn.Fused())


def test_the_weights_of_a_block_fit_its_shared_memory():
    limit = 227 * 1024  # CUDA C++ Programming Guide, compute capability 9.0
    plans = []
    for hidden in range(64, 1025, 64):
        for dtype in ("float32", "bfloat16"):
            try:
                found = pallas_gpu.plan(70, hidden, [(hidden, 4 * hidden)], dtype)
            except pallas_gpu.DoesNotFit:
                continue
            size = jnp.dtype(dtype).itemsize
            weights = hidden * 4 * hidden // found.blocks * size
            assert weights < found.shared <= limit
            assert found.units * found.groups * found.blocks == hidden
            assert found.tiles == 2 and found.batch == 128
            plans.append((dtype, hidden))
    assert ("float32", 256) in plans and ("bfloat16", 448) in plans
    assert ("float32", 384) not in plans and ("bfloat16", 512) not in plans
