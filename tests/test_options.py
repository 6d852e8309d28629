"""Options of cells: no biases, other activations, clipping; against formulas written out."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import GRU, LSTM, Dense, Elman, IndRNN, testing
from jaxrnn.strategies import kernel_table

from .helpers import each


BIASED = [
    *(jaxrnn.CfC(3, 4, 5, backbone_layers=2), jaxrnn.CTRNN(3, 4), Elman(3, 4)),
    *(GRU(3, 4), GRU(3, 4, reset_after=False), IndRNN(3, 4), LSTM(3, 4)),
    *(jaxrnn.LayerNormGRU(3, 4), jaxrnn.LayerNormLSTM(3, 4), jaxrnn.MGU(3, 4)),
    *(jaxrnn.MinGRU(3, 4), jaxrnn.MinLSTM(3, 4), jaxrnn.ParaGRU(3, 4)),
    *(jaxrnn.ParaLSTM(3, 4), jaxrnn.PeepholeLSTM(3, 4), jaxrnn.QRNN(3, 4)),
    *(jaxrnn.ProjectedLSTM(3, 4, 2), jaxrnn.SLSTM(3, 4, heads=2), jaxrnn.SRU(3, 4)),
    Dense(3, 4),
]
BIASES = ("b", "b_n", "b_hidden", "b_out")


@each("layer", BIASED)
def test_no_bias_is_a_bias_of_zero_that_is_not_there(layer):
    bare = dataclasses.replace(layer, use_bias=False)
    params, key = bare.init(jax.random.key(0)), jax.random.key(1)
    named = params._asdict()
    assert all(named[name] is None for name in BIASES if name in named)
    zeros = {
        name: jnp.zeros_like(b)
        for name, b in layer.init(jax.random.key(0))._asdict().items()
        if name in BIASES and b is not None
    }
    assert zeros, "there was a bias to leave out"
    same = params._replace(**zeros)
    assert jax.tree.structure(same) == jax.tree.structure(layer.init(jax.random.key(0)))

    def two_steps(layer, params, xs):
        state = layer.initial_state(params)
        state, _ = layer.step(params, state, xs[0])
        return layer.step(params, state, xs[1])

    run = jax.jit(two_steps, static_argnums=0)
    xs = jax.random.normal(key, (2, 3))
    got, want = run(bare, params, xs), run(layer, same, xs)
    testing.assert_close("use_bias", str(layer), got, want, 1e-6)


@each("use_bias", [1, None, "no"])
def test_use_bias_is_a_boolean(use_bias):
    for make in (LSTM, jaxrnn.MinGRU, Dense):
        with pytest.raises(TypeError, match=r"use_bias=.*True or False"):
            make(3, 4, use_bias=use_bias)


BARE = [
    LSTM(3, 5, use_bias=False),
    GRU(3, 5, use_bias=False),
    GRU(3, 5, reset_after=False, use_bias=False),
    IndRNN(3, 5, use_bias=False),
]


@each("cell", BARE)
def test_kernels_serve_cells_without_biases(cell):
    assert kernel_table.find(cell) is not None
    options = ["lengths", "mask", "resets"]
    testing.check_strategy(jaxrnn.Fused(), cell, options, time=7, batch=3)


# every activation in NumPy, with the bound of its input
def bounded(fn, clip):
    return fn if clip is None else lambda v: fn(np.clip(v, -clip, clip))


def hard_sigmoid(v):
    """PyTorch's, Keras' and JAX's; ONNX's has 0.2 in place of 1/6 by default."""
    return np.clip(v / 6 + 0.5, 0, 1)


def hard_tanh(v):
    return np.clip(v, -1, 1)


def softsign(v):
    return v / (1 + np.abs(v))


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def case(cell, scale=3.0):
    """Parameters and inputs large enough for a clip of 1 to matter, as NumPy arrays."""
    params = jax.tree.map(
        lambda p: scale * jax.random.normal(jax.random.key(p.size), p.shape, p.dtype),
        cell.init(jax.random.key(0)),
    )
    xs = jax.random.normal(jax.random.key(1), (5, 1, 3))
    return params, xs, jax.tree.map(lambda p: np.asarray(p, np.float64), params)


def lstm(p, xs, act, gate, coupled):
    """ONNX's LSTM, whose f, g and h are `gate`, `act` and `act`."""
    h = c = np.zeros(4)
    for x in xs:
        parts = np.split(x @ p.w + h @ p.u + p.b, 3 if coupled else 4)
        i = gate(parts[0])
        f = 1 - i if coupled else gate(parts[1])
        c = f * c + i * act(parts[-2])
        h = gate(parts[-1]) * act(c)
        yield h


def gru(p, xs, act, gate, after):
    h = np.zeros(4)
    for x in xs:
        (x_r, x_z, x_n), (u_r, u_z, u_n) = (
            np.split(x @ p.w + p.b, 3),
            np.split(p.u, 3, axis=1),
        )
        r, z = gate(x_r + h @ u_r), gate(x_z + h @ u_z)
        n = act(x_n + (r * (h @ u_n + p.b_n) if after else (r * h) @ u_n))
        h = (1 - z) * n + z * h
        yield h


JAX_OF = {
    np.tanh: jnp.tanh,
    softsign: jax.nn.soft_sign,
    sigmoid: jax.nn.sigmoid,
    hard_sigmoid: jax.nn.hard_sigmoid,
    hard_tanh: jax.nn.hard_tanh,
}
ROWS = [
    (np.tanh, sigmoid, 1.0),
    (softsign, hard_sigmoid, None),
    (softsign, hard_sigmoid, 0.7),
    (np.tanh, hard_sigmoid, None),
    (softsign, hard_tanh, None),  # whose 1 - f(v) is not f(-v)
]


@pytest.mark.parametrize("act, gate, clip", ROWS)
@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_activations_and_clip_by_the_formulas(kind, flag, act, gate, clip):
    """`flag`: coupled gates of the LSTM; the reset after the product of the GRU."""
    given = {"activation": JAX_OF[act], "gate_activation": JAX_OF[gate], "clip": clip}
    named = {"coupled": flag} if kind is LSTM else {"reset_after": flag}
    cell = kind(3, 4, **named, **given)
    params, xs, p = case(cell)
    loop = lstm if kind is LSTM else gru
    steps = loop(p, np.asarray(xs[:, 0]), bounded(act, clip), bounded(gate, clip), flag)
    _, ys = jaxrnn.unroll(cell, params, xs)
    np.testing.assert_allclose(ys[:, 0], np.stack(list(steps)), atol=2e-6)


def test_the_clip_of_a_simple_network():
    cell = Elman(3, 4, clip=0.5)
    params, xs, p = case(cell)
    h, want = np.zeros(4), []
    for x in np.asarray(xs[:, 0]):
        h = np.tanh(np.clip(x @ p.w + h @ p.u + p.b, -0.5, 0.5))
        want.append(h)
    _, ys = jaxrnn.unroll(cell, params, xs)
    np.testing.assert_allclose(ys[:, 0], np.stack(want), atol=1e-6)
    assert np.max(np.abs(ys)) == pytest.approx(np.tanh(0.5))


OTHERS = [
    LSTM(3, 4, activation=jax.nn.relu),
    LSTM(3, 4, gate_activation=jax.nn.hard_sigmoid),
    GRU(3, 4, clip=3.0),
    Elman(3, 4, clip=3.0),
    jaxrnn.LearnedState(GRU(3, 4, gate_activation=jax.nn.hard_sigmoid)),
]


@each("cell", OTHERS)
def test_kernels_leave_other_activations_to_others(cell):
    assert kernel_table.find(cell) is None
    (decision,) = jaxrnn.explain(cell, (5, 2, 3)).decisions
    assert decision.choice.strategy == jaxrnn.Hoisted()


def test_the_defaults_are_what_they_were():
    given = LSTM(3, 4, activation=jnp.tanh, gate_activation=jax.nn.sigmoid, clip=None)
    assert given == LSTM(3, 4) and hash(given) == hash(LSTM(3, 4))
    assert str(given) == "LSTM(input_size=3, hidden_size=4)"
    assert kernel_table.find(given) is not None


@pytest.mark.parametrize(
    "make, error, message",
    [
        (
            lambda: LSTM(3, 4, activation="tanh"),
            TypeError,
            "activation='tanh'.*jnp.tanh",
        ),
        (lambda: GRU(3, 4, gate_activation=None), TypeError, "gate_activation=None"),
        (lambda: LSTM(3, 4, clip=0), ValueError, "clip=0.*above 0"),
        (lambda: GRU(3, 4, clip=-1.0), ValueError, "clip=-1.0.*above 0"),
        (lambda: Elman(3, 4, clip=float("nan")), ValueError, "clip=nan"),
        (lambda: Elman(3, 4, clip=True), TypeError, "clip=True.*a number"),
        (lambda: LSTM(3, 4, clip="3"), TypeError, "clip='3'.*a number"),
    ],
)
def test_options_that_cannot_be_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
