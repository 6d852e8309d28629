"""Every cell follows its published equations, written again here in plain NumPy.

Each `*_step` below is one example and one time step, from the paper that it names; the
loops over time and batch are Python's. Nothing of jaxrnn is in them but the names of the
parameters, which are all random, those that start at zero or one included. Gradients are
checked against central differences of the same loops.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def normalised(norm, v):
    """Layer normalisation, with the variance over the vector itself."""
    return norm.scale * (v - np.mean(v)) / np.sqrt(np.var(v) + 1e-5) + norm.shift


def elman_step(f, p, h, x):
    """Elman 1990, with the activation f."""
    h = f(x @ p.w + h @ p.u + p.b)
    return h, h


def coupled_lstm_step(p, state, x):
    """Greff et al. 2017, the variant CIFG: f = 1 - i."""
    h, c = state
    a_i, a_g, a_o = np.split(x @ p.w + h @ p.u + p.b, 3)
    i = sigmoid(a_i)
    c = (1 - i) * c + i * np.tanh(a_g)
    h = sigmoid(a_o) * np.tanh(c)
    return (h, c), h


def lstm_step(p, state, x):
    """Gers, Schmidhuber, Cummins 2000."""
    h, c = state
    i, f, g, o = np.split(x @ p.w + h @ p.u + p.b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


def gru_before_step(p, h, x):
    """Cho et al. 2014: the reset gate before the matmul."""
    w_r, w_z, w_n = np.split(p.w, 3, axis=1)
    u_r, u_z, u_n = np.split(p.u, 3, axis=1)
    b_r, b_z, b_n = np.split(p.b, 3)
    r = sigmoid(x @ w_r + h @ u_r + b_r)
    z = sigmoid(x @ w_z + h @ u_z + b_z)
    n = np.tanh(x @ w_n + (r * h) @ u_n + b_n)
    h = z * h + (1 - z) * n
    return h, h


def gru_after_step(p, h, x):
    """Cho et al. 2014, first version: the reset gate after the matmul."""
    x_r, x_z, x_n = np.split(x @ p.w + p.b, 3)
    h_r, h_z, h_n = np.split(h @ p.u, 3)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * (h_n + p.b_n))
    h = z * h + (1 - z) * n
    return h, h


def peephole_lstm_step(p, state, x):
    """Gers, Schraudolph, Schmidhuber 2002: the output gate sees the new memory."""
    h, c = state
    a_i, a_f, a_g, a_o = np.split(x @ p.w + h @ p.u + p.b, 4)
    i, f = sigmoid(a_i + p.p_i * c), sigmoid(a_f + p.p_f * c)
    c = f * c + i * np.tanh(a_g)
    h = sigmoid(a_o + p.p_o * c) * np.tanh(c)
    return (h, c), h


def layer_norm_lstm_step(p, state, x):
    """Ba, Kiros, Hinton 2016, equations 20 to 22."""
    h, c = state
    gates = normalised(p.norm_h, h @ p.u) + normalised(p.norm_x, x @ p.w) + p.b
    i, f, g, o = np.split(gates, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(normalised(p.norm_c, c))
    return (h, c), h


def layer_norm_gru_step(p, h, x):
    """Ba, Kiros, Hinton 2016, the GRU of the supplement; here z keeps."""
    rz = 2 * h.size
    gates = normalised(p.norm_h, h @ p.u[:, :rz]) + normalised(
        p.norm_x, x @ p.w[:, :rz]
    )
    r, z = np.split(sigmoid(gates + p.b[:rz]), 2)
    n_x = normalised(p.norm_xn, x @ p.w[:, rz:])
    n_h = normalised(p.norm_hn, h @ p.u[:, rz:])
    h = z * h + (1 - z) * np.tanh(n_x + p.b[rz:] + r * n_h)
    return h, h


def mgu_step(p, h, x):
    """Zhou et al. 2016."""
    w_f, w_n = np.split(p.w, 2, axis=1)
    u_f, u_n = np.split(p.u, 2, axis=1)
    b_f, b_n = np.split(p.b, 2)
    f = sigmoid(x @ w_f + h @ u_f + b_f)
    h = (1 - f) * h + f * np.tanh(x @ w_n + (f * h) @ u_n + b_n)
    return h, h


def indrnn_step(f, p, h, x):
    """Li et al. 2018, with the activation f."""
    h = f(x @ p.w + p.u * h + p.b)
    return h, h


def projected_lstm_step(p, state, x):
    """Sak, Senior, Beaufays 2014, without peepholes."""
    r, c = state
    i, f, g, o = np.split(x @ p.w + r @ p.u + p.b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    r = (sigmoid(o) * np.tanh(c)) @ p.w_p
    return (r, c), r


def zoneout_lstm_step(p, state, x):
    """Krueger et al. 2017 at test time: the new h is made of the whole new c."""
    (h_new, c_new), _ = lstm_step(p, state, x)
    h, c = 0.3 * state[0] + 0.7 * h_new, 0.6 * state[1] + 0.4 * c_new
    return (h, c), h


def zoneout_gru_step(p, h, x):
    """Krueger et al. 2017 at test time."""
    h = 0.2 * h + 0.8 * gru_after_step(p, h, x)[0]
    return h, h


def learned_step(p, state, x):
    """An LSTM; the caller gives the initial state."""
    return lstm_step(p.cell, state, x)


def para_gru_step(p, h, x):
    """Danieli et al. 2025, ParaGRU."""
    x_z, x_r, x_n = np.split(x @ p.w + p.b, 3)
    a_z, a_r, a_n = p.u
    z, r = sigmoid(a_z * h + x_z), sigmoid(a_r * h + x_r)
    h = (1 - z) * h + z * np.tanh(a_n * (h * r) + x_n)
    return h, h


def para_lstm_step(p, state, x):
    """Danieli et al. 2025, ParaLSTM: the output gate sees the new memory."""
    h, c = state
    x_f, x_c, x_o = np.split(x @ p.w + p.b, 3)
    a_f, a_c, a_o = p.u
    f = sigmoid(a_f * h + x_f + p.p[0] * c)
    c = f * c + (1 - f) * np.tanh(a_c * h + x_c)
    h = sigmoid(a_o * h + x_o + p.p[1] * c) * np.tanh(c)
    return (h, c), h


def slstm_step(p, state, x):
    """Beck et al. 2024, sLSTM with its stabiliser, head by head."""
    h, c, n, m = state
    heads, d, _ = p.u.shape
    outer = np.split(x @ p.w + p.b, 4)
    inner = [[], [], [], []]
    for head in range(heads):
        mixed = h[head * d : (head + 1) * d] @ p.u[head]
        for gate, part in enumerate(np.split(mixed, 4)):
            inner[gate].extend(part)
    i, f, z, o = (a + np.array(b) for a, b in zip(outer, inner, strict=True))
    f = np.log(sigmoid(f)) + m
    new_m = np.where(n == 0, i, np.maximum(f, i))
    scale_f, scale_i = np.exp(f - new_m), np.exp(i - new_m)
    c = scale_f * c + scale_i * np.tanh(z)
    n = scale_f * n + scale_i
    h = sigmoid(o) * c / n
    return (h, c, n, new_m), h


def ctrnn_step(p, h, x):
    """Funahashi & Nakamura 1993: tau dh/dt = target - h, solved over a time of 1."""
    target = np.tanh(x @ p.w + h @ p.u + p.b)
    h = target + (h - target) * np.exp(-1 / np.exp(p.log_tau))
    return h, h


def cfc_step(p, h, x):
    """Hasani et al. 2022, equation 10, after a backbone of two layers; a time of 1."""
    v = 1.7159 * np.tanh(0.666 * (x @ p.w + h @ p.u + p.b))
    v = 1.7159 * np.tanh(0.666 * (v @ p.w_hidden[0] + p.b_hidden[0]))
    f, g, a, b = np.split(v @ p.w_out + p.b_out, 4)
    s = sigmoid(a + b)
    h = np.tanh(f) * (1 - s) + np.tanh(g) * s
    return h, h


def relu(v):
    return np.maximum(v, 0)


TIME, BATCH, INPUTS, HIDDEN = 5, 2, 3, 4
_SIZES = (INPUTS, HIDDEN)
_LSTM, _ZONES = jaxrnn.LSTM(*_SIZES), jaxrnn.cells.LSTMState(h=0.3, c=0.6)
CELLS = {
    "Elman, sine": (jaxrnn.Elman(*_SIZES, jnp.sin), partial(elman_step, np.sin)),
    "LSTM, coupled": (jaxrnn.LSTM(*_SIZES, coupled=True), coupled_lstm_step),
    "GRU, reset after": (jaxrnn.GRU(*_SIZES), gru_after_step),
    "GRU, reset before": (jaxrnn.GRU(*_SIZES, reset_after=False), gru_before_step),
    "PeepholeLSTM": (jaxrnn.PeepholeLSTM(*_SIZES), peephole_lstm_step),
    "LayerNormLSTM": (jaxrnn.LayerNormLSTM(*_SIZES), layer_norm_lstm_step),
    "LayerNormGRU": (jaxrnn.LayerNormGRU(*_SIZES), layer_norm_gru_step),
    "MGU": (jaxrnn.MGU(*_SIZES), mgu_step),
    "IndRNN": (jaxrnn.IndRNN(*_SIZES), partial(indrnn_step, relu)),
    "IndRNN, tanh": (jaxrnn.IndRNN(*_SIZES, jnp.tanh), partial(indrnn_step, np.tanh)),
    "ProjectedLSTM": (jaxrnn.ProjectedLSTM(*_SIZES, 2), projected_lstm_step),
    "ParaGRU": (jaxrnn.ParaGRU(*_SIZES), para_gru_step),
    "ParaLSTM": (jaxrnn.ParaLSTM(*_SIZES), para_lstm_step),
    "SLSTM": (jaxrnn.SLSTM(*_SIZES, heads=2), slstm_step),
    "CTRNN": (jaxrnn.CTRNN(*_SIZES), ctrnn_step),
    "CfC": (jaxrnn.CfC(*_SIZES, 5, backbone_layers=2), cfc_step),
    "Zoneout, LSTM": (jaxrnn.Zoneout(_LSTM, _ZONES), zoneout_lstm_step),
    "Zoneout, GRU": (jaxrnn.Zoneout(jaxrnn.GRU(*_SIZES), 0.2), zoneout_gru_step),
    "LearnedState": (jaxrnn.LearnedState(_LSTM), learned_step),
}
every_cell = pytest.mark.parametrize("name", CELLS)


class Problem(NamedTuple):
    """The arguments of `unroll`, and the cotangents of its results."""

    params: object
    xs: np.ndarray
    state: object
    cotangents: tuple


@every_cell
def test_outputs_and_final_state(name, x64):
    cell, step = CELLS[name]
    problem = _problem(cell)
    got, _ = _answer(cell, problem)
    want = _loops(step, problem)
    _assert_close(got, jax.tree.unflatten(jax.tree.structure(got), want), 1e-12)


@every_cell
def test_gradients(name, x64):
    cell, step = CELLS[name]
    problem = _problem(cell)
    _, got = _answer(cell, problem)
    _assert_close(got, _differences(step, problem), 1e-6)


def _problem(cell):
    """Random numbers in every leaf, since gains of one and shifts of zero would hide faults."""
    rng = np.random.default_rng(0)

    def random(shape):
        return rng.uniform(-1, 1, shape)

    shapes = jax.eval_shape(cell.init, jax.random.key(0))
    params = jax.tree.map(lambda p: random(p.shape), shapes)
    states = jax.eval_shape(cell.initial_state, shapes)
    state, d_state = (
        jax.tree.map(lambda s: random((BATCH, *s.shape)), states) for _ in range(2)
    )
    if isinstance(cell, jaxrnn.LearnedState):
        state = None  # the learned initial state, whose gradient this cell adds
    # The output of every cell here is the first, or only, part of its state.
    d_ys = random((TIME, BATCH, *jax.tree.leaves(states)[0].shape))
    return Problem(params, random((TIME, BATCH, INPUTS)), state, (d_state, d_ys))


@jax.jit
def _answer(cell, problem):
    """jaxrnn's `(state, ys)`, and its gradients by params, xs and state."""
    *leaves, cotangents = problem

    def loss(leaves):
        results = jaxrnn.unroll(cell, *leaves)
        parts = jax.tree.map(lambda a, ct: jnp.sum(a * ct), results, cotangents)
        return sum(jax.tree.leaves(parts)), results

    gradients, results = jax.grad(loss, has_aux=True)(leaves)
    return results, gradients


def _loops(step, problem):
    """The leaves of `(state, ys)`, by loops over the batch and time."""
    params, xs, state, _ = problem
    ys, finals = [], []
    for row in range(xs.shape[1]):
        s = _row(params.initial if state is None else state, row, state is not None)
        outputs = []
        for x in xs[:, row]:
            s, y = step(params, s, x)
            outputs.append(y)
        finals.append(s if isinstance(s, tuple) else (s,))
        ys.append(outputs)
    return [*map(np.stack, zip(*finals, strict=True)), np.stack(ys, axis=1)]


def _row(state, row, batched):
    """The state of one sequence: a vector, or a tuple of vectors."""
    if not batched:
        return state
    return tuple(s[row] for s in state) if isinstance(state, tuple) else state[row]


def _differences(step, problem, epsilon=1e-5):
    """Central differences of the loss of `_loops`, one number after the other."""
    leaves, structure = jax.tree.flatten(list(problem[:3]))
    # JAX may still be reading the originals: it shares memory with NumPy, and runs ahead.
    leaves = [leaf.copy() for leaf in leaves]
    cotangents = jax.tree.leaves(problem.cotangents)

    def loss():
        moved = jax.tree.unflatten(structure, leaves)
        results = _loops(step, Problem(*moved, None))
        return sum(np.sum(a * ct) for a, ct in zip(results, cotangents, strict=True))

    def derivative(leaf, index):
        middle, sides = leaf[index], []
        for step_aside in (epsilon, -epsilon):
            leaf[index] = middle + step_aside
            sides.append(loss())
        leaf[index] = middle
        return (sides[0] - sides[1]) / (2 * epsilon)

    gradients = [
        np.array([derivative(leaf, i) for i in np.ndindex(leaf.shape)])
        for leaf in leaves
    ]
    shaped = [g.reshape(leaf.shape) for g, leaf in zip(gradients, leaves, strict=True)]
    return jax.tree.unflatten(structure, shaped)


def _assert_close(got, want, tolerance):
    pairs = zip(jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True)
    for (path, a), b in pairs:
        label = jax.tree_util.keystr(path)
        assert (a.dtype, a.shape) == (np.float64, b.shape), label
        error = np.max(np.abs(np.asarray(a) - b)) / np.max(np.abs(b))
        assert error <= tolerance, f"{label}: relative error {error:.1e}"
