"""Initializers draw as documented, gate by gate; layers have their documented defaults."""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.initializers import (
    Chrono,
    ForgetBias,
    ForgetRange,
    Glorot,
    Identity,
    Orthogonal,
    SmallNormal,
    TorchUniform,
    Uniform,
)


KEY = jax.random.key(7)
INPUTS, HIDDEN, PROJECTED = 5, 8, 3

# The gates of each cell in the order of its weights: f keeps the memory, i writes to it.
GATES = {
    jaxrnn.Elman(INPUTS, HIDDEN): "n",
    jaxrnn.IndRNN(INPUTS, HIDDEN): "n",
    jaxrnn.LSTM(INPUTS, HIDDEN): "ifgo",
    jaxrnn.LSTM(INPUTS, HIDDEN, coupled=True): "igo",
    jaxrnn.PeepholeLSTM(INPUTS, HIDDEN): "ifgo",
    jaxrnn.LayerNormLSTM(INPUTS, HIDDEN): "ifgo",
    jaxrnn.ProjectedLSTM(INPUTS, HIDDEN, PROJECTED): "ifgo",
    jaxrnn.GRU(INPUTS, HIDDEN): "rfn",
    jaxrnn.GRU(INPUTS, HIDDEN, reset_after=False): "rfn",
    jaxrnn.LayerNormGRU(INPUTS, HIDDEN): "rfn",
    jaxrnn.MGU(INPUTS, HIDDEN): "in",
}
MATRIX_CELLS = [cell for cell in GATES if not isinstance(cell, jaxrnn.IndRNN)]
every_cell = pytest.mark.parametrize("cell", GATES, ids=str)
every_matrix_cell = pytest.mark.parametrize("cell", MATRIX_CELLS, ids=str)


def _blocks(cell, weight):
    """The gates of a weight or a bias, one array each."""
    return np.split(np.asarray(weight), len(GATES[cell]), axis=-1)


def _spread(*arrays):
    """The smallest and the largest number in some arrays."""
    values = np.concatenate([np.ravel(a) for a in arrays])
    return values.min(), values.max()


@every_matrix_cell
def test_orthogonal_gate_by_gate(cell, x64):
    half, whole = Orthogonal(0.5), Orthogonal()
    params = dataclasses.replace(cell, w_init=half, u_init=whole).init(KEY)
    gates = _blocks(cell, 2 * params.w) + _blocks(cell, params.u)
    for block in gates:
        # Of a block that is not square, the shorter side is orthonormal.
        short = block if block.shape[0] <= block.shape[1] else block.T
        np.testing.assert_allclose(short @ short.T, np.eye(len(short)), atol=1e-12)
    for i, block in enumerate(gates):
        for other in gates[:i]:
            assert not np.array_equal(block, other)


@every_matrix_cell
def test_identity_gate_by_gate(cell):
    half, whole = Identity(0.5), Identity()
    params = dataclasses.replace(cell, w_init=whole, u_init=half).init(KEY)
    for block in _blocks(cell, params.w):
        np.testing.assert_array_equal(block, np.eye(*block.shape))
    for block in _blocks(cell, params.u):
        np.testing.assert_array_equal(block, 0.5 * np.eye(*block.shape))


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (1, 200)])
def test_glorot_bound(shape):
    bound = math.sqrt(6 / sum(shape))
    low, high = _spread(Glorot()(KEY, shape, jnp.float32))
    assert -bound <= low < -0.9 * bound and 0.9 * bound < high <= bound


@every_cell
def test_glorot_sees_one_gate(cell):
    bound = math.sqrt(6 / (INPUTS + HIDDEN))
    for block in _blocks(cell, dataclasses.replace(cell, w_init=Glorot()).init(KEY).w):
        low, high = _spread(block)
        assert -bound <= low < -0.8 * bound and 0.8 * bound < high <= bound


@every_cell
def test_torch_uniform_bound(cell):
    # As torch.nn.RNNBase.reset_parameters: 1 / sqrt(hidden_size), whatever the weight.
    bound = 1 / math.sqrt(HIDDEN)
    torch = TorchUniform()
    cell = dataclasses.replace(cell, w_init=torch, u_init=torch, b_init=torch)
    params = cell.init(KEY)
    drawn = [params.w, params.u, params.b, getattr(params, "w_p", params.w)]
    for weight in drawn:
        low, high = _spread(weight)
        assert -bound <= low < -0.5 * bound and 0.5 * bound < high <= bound
    low, high = _spread(*drawn)
    assert low < -0.95 * bound and 0.95 * bound < high


def test_uniform_range():
    low, high = _spread(Uniform(-0.3, 2.0)(KEY, (40, 50), jnp.float32))
    assert -0.3 <= low < -0.29 and 1.99 < high < 2.0


@every_cell
def test_forget_bias_positions(cell):
    """On the forget gate; without a forget gate, negative on the gate that writes."""
    bias = dataclasses.replace(cell, b_init=ForgetBias(2.5)).init(KEY).b
    want = {"f": 2.5} if "f" in GATES[cell] else {"i": -2.5}
    for gate, block in zip(GATES[cell], _blocks(cell, bias), strict=True):
        np.testing.assert_array_equal(block, want.get(gate, 0.0))


@every_cell
def test_chrono_gates(cell):
    longest = 100.0
    bias = dataclasses.replace(cell, b_init=Chrono(longest)).init(KEY).b
    gates = dict(zip(GATES[cell], _blocks(cell, bias), strict=True))
    for gate, block in gates.items():
        sign = {"f": 1, "i": -1}.get(gate, 0)
        low, high = _spread(sign * block)
        assert 0 <= low <= high <= math.log(longest - 1)
        assert (len(set(block)) == HIDDEN) == (sign != 0)  # one memory for each unit
    if {"i", "f"} <= set(gates):
        np.testing.assert_array_equal(gates["i"], -gates["f"])


def test_chrono_range():
    # The lifetimes, not their logarithms, are uniform.
    bias = Chrono(50.0).bias(KEY, ("forget",), 4000, jnp.float32)
    lifetimes = np.exp(np.asarray(bias, np.float64))
    assert 1 <= lifetimes.min() < 1.1 and 48.9 < lifetimes.max() <= 49 + 1e-5
    np.testing.assert_allclose(lifetimes.mean(), 25, atol=1)


def _lstm_shapes():
    gates = 4 * HIDDEN
    return {"w": (INPUTS, gates), "u": (HIDDEN, gates), "b": (gates,)}


def _gru_shapes():
    gates = 3 * HIDDEN
    return {"w": (INPUTS, gates), "u": (HIDDEN, gates), "b": (gates,)}


def _norm(size):
    return {"scale": (size,), "shift": (size,)}


SHAPES = [
    (
        jaxrnn.Elman(INPUTS, HIDDEN),
        {"w": (INPUTS, HIDDEN), "u": (HIDDEN, HIDDEN), "b": (HIDDEN,)},
    ),
    (
        jaxrnn.IndRNN(INPUTS, HIDDEN),
        {"w": (INPUTS, HIDDEN), "u": (HIDDEN,), "b": (HIDDEN,)},
    ),
    (jaxrnn.LSTM(INPUTS, HIDDEN), _lstm_shapes()),
    (jaxrnn.LSTM(INPUTS, HIDDEN, coupled=True), _gru_shapes()),
    (
        jaxrnn.PeepholeLSTM(INPUTS, HIDDEN),
        _lstm_shapes() | {"p_i": (HIDDEN,), "p_f": (HIDDEN,), "p_o": (HIDDEN,)},
    ),
    (
        jaxrnn.LayerNormLSTM(INPUTS, HIDDEN),
        _lstm_shapes()
        | {
            "norm_x": _norm(4 * HIDDEN),
            "norm_h": _norm(4 * HIDDEN),
            "norm_c": _norm(HIDDEN),
        },
    ),
    (
        jaxrnn.ProjectedLSTM(INPUTS, HIDDEN, PROJECTED),
        _lstm_shapes() | {"u": (PROJECTED, 4 * HIDDEN), "w_p": (HIDDEN, PROJECTED)},
    ),
    (jaxrnn.GRU(INPUTS, HIDDEN), _gru_shapes() | {"b_n": (HIDDEN,)}),
    (jaxrnn.GRU(INPUTS, HIDDEN, reset_after=False), _gru_shapes() | {"b_n": None}),
    (
        jaxrnn.LayerNormGRU(INPUTS, HIDDEN),
        _gru_shapes()
        | {
            "norm_x": _norm(2 * HIDDEN),
            "norm_h": _norm(2 * HIDDEN),
            "norm_xn": _norm(HIDDEN),
            "norm_hn": _norm(HIDDEN),
        },
    ),
    (
        jaxrnn.MGU(INPUTS, HIDDEN),
        {"w": (INPUTS, 2 * HIDDEN), "u": (HIDDEN, 2 * HIDDEN), "b": (2 * HIDDEN,)},
    ),
    (
        jaxrnn.ParaGRU(INPUTS, HIDDEN),
        _gru_shapes() | {"u": (3, HIDDEN)},
    ),
    (
        jaxrnn.ParaLSTM(INPUTS, HIDDEN),
        _gru_shapes() | {"u": (3, HIDDEN), "p": (2, HIDDEN)},
    ),
    (
        jaxrnn.SLSTM(INPUTS, HIDDEN, heads=2),
        _lstm_shapes() | {"u": (2, HIDDEN // 2, 2 * HIDDEN)},
    ),
    (
        jaxrnn.CTRNN(INPUTS, HIDDEN),
        {
            "w": (INPUTS, HIDDEN),
            "u": (HIDDEN, HIDDEN),
            "b": (HIDDEN,),
            "log_tau": (HIDDEN,),
        },
    ),
    (
        jaxrnn.CfC(INPUTS, HIDDEN, 6, backbone_layers=3),
        {
            "w": (INPUTS, 6),
            "u": (HIDDEN, 6),
            "b": (6,),
            "w_hidden": (2, 6, 6),
            "b_hidden": (2, 6),
            "w_out": (6, 4 * HIDDEN),
            "b_out": (4 * HIDDEN,),
        },
    ),
    (jaxrnn.Dense(INPUTS, HIDDEN), {"w": (INPUTS, HIDDEN), "b": (HIDDEN,)}),
    (jaxrnn.Embedding(INPUTS, HIDDEN), {"table": (INPUTS, HIDDEN)}),
]
every_layer = pytest.mark.parametrize(
    ("layer", "shapes"), SHAPES, ids=[str(layer) for layer, _ in SHAPES]
)


def _shapes(params):
    """The shapes of a tree of named tuples, by name."""
    if not hasattr(params, "_asdict"):
        return None if params is None else params.shape
    return {name: _shapes(leaf) for name, leaf in params._asdict().items()}


def _check_default(layer, shapes, dtype):
    params = layer.init(KEY)
    assert _shapes(params) == shapes
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}
    for state in jax.tree.leaves(layer.initial_state(params)):
        assert state.dtype == dtype
        np.testing.assert_array_equal(state, 0.0)


@every_layer
def test_default_shapes_and_dtypes(layer, shapes):
    _check_default(layer, shapes, np.float32)


@every_layer
def test_default_shapes_and_dtypes_in_float64(layer, shapes, x64):
    _check_default(layer, shapes, np.float64)


@every_cell
def test_default_initializers(cell, x64):
    """Input weights by Glorot, orthogonal recurrent weights, and the rest as documented."""
    params = cell.init(KEY)
    named = {
        "w_init": Glorot(),
        "u_init": Orthogonal(),
    }
    named["b_init"] = ForgetBias(1.0 if "LSTM" in type(cell).__name__ else 0.0)
    if isinstance(cell, jaxrnn.IndRNN):
        named["u_init"] = Uniform(0.0, 1.0)
    expected = dataclasses.replace(cell, **named).init(KEY)
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    for path, leaf in jax.tree.leaves_with_path(params):
        name = path[-1].name
        if name in ("shift", "b_n", "p_i", "p_f", "p_o"):
            np.testing.assert_array_equal(leaf, 0.0)
        if name == "scale":
            np.testing.assert_array_equal(leaf, 1.0)


def test_forget_range_is_even_and_has_its_sign_from_the_gate():
    spread = ForgetRange(3.0, 6.0)
    keeps, writes = (
        np.asarray(spread.bias(KEY, gates, 4, jnp.float32)).reshape(2, 4)
        for gates in (("forget", "candidate"), ("reset", "input"))
    )
    np.testing.assert_allclose(keeps, [[3, 4, 5, 6], [0, 0, 0, 0]])
    np.testing.assert_allclose(writes, [[0, 0, 0, 0], [-3, -4, -5, -6]])


def test_forget_power_law_is_drawn_head_by_head():
    """As in the code of xLSTM: -(-5 + 12 (k / (d - 1))^0.3) in each head of d units."""
    d = HIDDEN // 2
    head = -(-5 + 12 * (np.arange(d) / (d - 1)) ** 0.3)
    bias = jaxrnn.SLSTM(INPUTS, HIDDEN, heads=2).init(KEY).b
    i, f, z, o = np.split(np.asarray(bias), 4)
    np.testing.assert_allclose(f, np.concatenate([head, head]), rtol=1e-5)
    np.testing.assert_array_equal(np.concatenate([i, z, o]), 0.0)


def test_heads_and_vectors_start_as_documented():
    by_head = jaxrnn.SLSTM(INPUTS, HIDDEN, 2, u_init=Orthogonal()).init(KEY).u
    for gate in np.concatenate(np.split(np.asarray(by_head), 4, axis=-1)):
        np.testing.assert_allclose(gate @ gate.T, np.eye(HIDDEN // 2), atol=1e-6)
    np.testing.assert_array_equal(jaxrnn.SLSTM(INPUTS, HIDDEN).init(KEY).u, 0.0)
    u = np.asarray(SmallNormal()(KEY, (300, HIDDEN), jnp.float32))
    np.testing.assert_allclose(u.std(), 2 / math.sqrt(5 * HIDDEN), rtol=0.05)
    tau = np.exp(np.asarray(jaxrnn.CTRNN(INPUTS, 500).init(KEY).log_tau))
    assert 1 <= tau.min() < 1.1 and 9.9 < tau.max() <= 10 + 1e-5


def test_embedding_spread():
    table = np.asarray(jaxrnn.Embedding(500, 16).init(KEY).table)
    np.testing.assert_allclose(table.std(), 1 / 4, rtol=0.05)
    np.testing.assert_allclose(table.mean(), 0, atol=0.02)


@every_layer
def test_the_key_decides(layer, shapes):
    first, again, other = (layer.init(jax.random.key(n)) for n in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    same = jax.tree.map(np.array_equal, first, other)
    assert not all(jax.tree.leaves(same))


def test_no_two_parts_share_a_key():
    # Square, so that two weights drawn from one key would be equal.
    cell = jaxrnn.LSTM(HIDDEN, HIDDEN, w_init=Orthogonal())
    ways = jaxrnn.Bidirectional(cell, merge=jnp.add)
    params = jaxrnn.Stack((ways, ways, cell)).init(KEY)
    cells = jax.tree.leaves(params, is_leaf=lambda p: hasattr(p, "w"))
    weights = [np.asarray(w) for p in cells for w in (p.w, p.u)]
    assert len(weights) == 10
    for i, weight in enumerate(weights):
        assert not any(np.array_equal(weight, other) for other in weights[:i])


def test_learned_state_starts_at_the_cells_own():
    cell = jaxrnn.LSTM(INPUTS, HIDDEN)
    params = jaxrnn.LearnedState(cell).init(KEY)
    expected = cell.initial_state(cell.init(KEY))
    jax.tree.map(np.testing.assert_array_equal, params.initial, expected)


def test_every_cell_says_how_it_compares_with_published_code():
    public = [getattr(jaxrnn.cells, name) for name in dir(jaxrnn.cells)]
    cells = [c for c in public if isinstance(c, type) and issubclass(c, jaxrnn.Cell)]
    assert len(cells) == 26
    says = r"^    (Differs from .*code|Agrees with|(No|The) authors' code)"
    assert not [c.__name__ for c in cells if not re.search(says, c.__doc__, re.M)]
