"""Linear and matrix cells follow their published equations, written again in NumPy.

Each `*_step` below is one example and one time step in float64, from the paper that it
names, with complex numbers and matrices as the paper has them: C and n of the mLSTM
without their stabiliser, delta rules with I - beta k k^T written out, heads as loops.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def softplus(v):
    return np.log1p(np.exp(v))


def swish(v):
    return v * sigmoid(v)


def positive(v):
    return np.where(v >= 0, v + 0.5, sigmoid(v))


def rms_norm(v, scale):
    return v / np.sqrt(np.mean(v**2, axis=-1, keepdims=True) + 1e-5) * scale


def unit(v):
    return v / np.sqrt(np.sum(v**2) + 1e-6)


def lru_step(p, h, x):
    """Orvieto et al. 2023, equations of the final parametrisation."""
    decay = np.exp(-np.exp(p.nu) + 1j * np.exp(p.theta))
    b, c = p.b_re + 1j * p.b_im, p.c_re + 1j * p.c_im
    h = decay * h + np.exp(p.gamma) * (x @ b)
    return h, (h @ c).real + p.d * x


def s5_step(p, h, x):
    """Smith et al. 2023, equation 6: zero-order hold; conjugate pairs."""
    poles = np.minimum(p.lambda_re, -1e-4) + 1j * p.lambda_im
    dt = np.exp(p.log_step)
    b, c = p.b_re + 1j * p.b_im, p.c_re + 1j * p.c_im
    held = (np.exp(poles * dt) - 1) / poles
    h = np.exp(poles * dt) * h + held * (x @ b)
    pair = h @ c + np.conj(h) @ np.conj(c)
    return h, pair.real + p.d * x


def rg_lru_step(p, h, x):
    """De et al. 2024, equations 1 to 4."""
    parts = x.reshape(2, -1)
    blocks = lambda w: [v @ m for v, m in zip(parts, w, strict=True)]
    gate = lambda w, b: sigmoid(np.concatenate(blocks(w)) + b)
    a = sigmoid(-p.decay) ** (8 * gate(p.w_a, p.b_a))
    h = a * h + np.sqrt(1 - a**2) * gate(p.w_x, p.b_x) * x
    return h, h


def min_gru_step(p, h, x):
    """Feng et al. 2024, section 3.1, and g of appendix B."""
    z, n = np.split(x @ p.w + p.b, 2)
    z = sigmoid(z)
    h = (1 - z) * h + z * positive(n)
    return h, h


def min_lstm_step(p, h, x):
    """Feng et al. 2024, section 3.2."""
    f, i, n = np.split(x @ p.w + p.b, 3)
    f, i = sigmoid(f), sigmoid(i)
    h = f / (f + i) * h + i / (f + i) * positive(n)
    return h, h


def qrnn_step(p, c, x):
    """Bradbury et al. 2017, equation 4, at width 1."""
    n, f, o = np.split(x @ p.w + p.b, 3)
    c = sigmoid(f) * c + (1 - sigmoid(f)) * np.tanh(n)
    return c, sigmoid(o) * c


def sru_step(p, c, x):
    """Lei et al. 2017, first version; x and c of different sizes."""
    n, f, r, skip = np.split(x @ p.w, 4)
    b_f, b_r = np.split(p.b, 2)
    f, r = sigmoid(f + b_f), sigmoid(r + b_r)
    c = f * c + (1 - f) * n
    return c, r * np.tanh(c) + (1 - r) * skip


def sru_square_step(p, c, x):
    """The same with x and c of one size."""
    identity = np.concatenate([p.w, np.eye(len(x))], axis=1)
    return sru_step(p._replace(w=identity), c, x)


def heads_of(*arrays):
    """The parts of some vectors that belong to each head, one head after the other."""
    return zip(*(np.split(a, HEADS) for a in arrays), strict=True)


def gla_step(p, state, x):
    """Yang et al. 2024, equations 3 and 4 and section 4.4; q scaled as in fla."""
    alpha = sigmoid(x @ p.w_a1 @ p.w_a2 + p.b_a) ** (1 / 16)
    after, read = [], []
    for s, (q, k, v, a) in zip(
        state, heads_of(x @ p.w_q, x @ p.w_k, x @ p.w_v, alpha), strict=True
    ):
        s = np.diag(a) @ s + np.outer(k, v)
        after.append(s)
        read.append(rms_norm(q / np.sqrt(len(q)) @ s, p.norm))
    return np.stack(after), (np.concatenate(read) * swish(x @ p.w_r + p.b_r)) @ p.w_o


def ssd_step(p, state, x):
    """Dao & Gu 2024, section 7 and equation 16, a head at a time; SiLU as in Mamba-2."""
    dt = softplus(x @ p.w_dt + p.b_dt)
    a = np.exp(-np.exp(p.log_a) * dt)
    after, read = [], []
    b, c = swish(x @ p.w_b), swish(x @ p.w_c)
    for head, (u,) in enumerate(heads_of(swish(x @ p.w_x))):
        s = a[head] * state[head] + dt[head] * np.outer(b, u)
        after.append(s)
        read.append(c @ s + p.d[head] * u)
    y = np.concatenate(read) * swish(x @ p.w_z)
    return np.stack(after), rms_norm(y, p.norm) @ p.w_o


def delta_heads(p, state, x, alpha, beta):
    """Yang et al. 2025, equation 10: with the matmul written out."""
    after, read = [], []
    vectors = heads_of(*(swish(x @ w) for w in (p.w_q, p.w_k, p.w_v)))
    for head, (q, k, v) in enumerate(vectors):
        q, k = unit(q) / np.sqrt(len(q)), unit(k)
        erase = np.eye(len(k)) - beta[head] * np.outer(k, k)
        s = alpha[head] * erase @ state[head] + beta[head] * np.outer(k, v)
        after.append(s)
        read.append(rms_norm(q @ s, p.norm))
    return np.stack(after), np.concatenate(read)


def delta_net_step(p, state, x):
    """Yang et al. 2024, equation 2."""
    state, read = delta_heads(p, state, x, np.ones(HEADS), sigmoid(x @ p.w_b))
    return state, read @ p.w_o


def negative_delta_net_step(p, state, x):
    """Grazzi et al. 2025: beta from 0 to 2."""
    state, read = delta_heads(p, state, x, np.ones(HEADS), 2 * sigmoid(x @ p.w_b))
    return state, read @ p.w_o


def gated_delta_net_step(p, state, x):
    """Yang et al. 2025."""
    alpha = np.exp(-np.exp(p.log_a) * softplus(x @ p.w_a + p.b_a))
    state, read = delta_heads(p, state, x, alpha, sigmoid(x @ p.w_b))
    return state, (read * swish(x @ p.w_g)) @ p.w_o


def mlstm_step(p, state, x):
    """Beck et al. 2024, equations 19 to 27, before the stabilisation of 15 to 17."""
    memory, scale = state
    true = memory * np.exp(scale)[:, None, None]
    i, f = np.exp(x @ p.w_i + p.b_i), sigmoid(x @ p.w_f + p.b_f)
    after, read = [], []
    for head, (q, k, v) in enumerate(heads_of(x @ p.w_q, x @ p.w_k, x @ p.w_v)):
        k = k / np.sqrt(len(k))
        c, n = true[head][:, :-1], true[head][:, -1]
        c = f[head] * c + i[head] * np.outer(k, v)
        n = f[head] * n + i[head] * k
        after.append(np.concatenate([c, n[:, None]], axis=1))
        read.append(q @ c / max(abs(n @ q), 1))
    scale = np.maximum(np.log(f) + scale, np.log(i))
    memory = np.stack(after) * np.exp(-scale)[:, None, None]
    return (memory, scale), sigmoid(x @ p.w_o + p.b_o) * np.concatenate(read)


TIME, HEADS = 5, 2
CELLS = {
    "LRU": (jaxrnn.LRU(3, 4), lru_step),
    "S5": (jaxrnn.S5(3, 4), s5_step),
    "RGLRU": (jaxrnn.RGLRU(4, heads=2), rg_lru_step),
    "MinGRU": (jaxrnn.MinGRU(3, 4), min_gru_step),
    "MinLSTM": (jaxrnn.MinLSTM(3, 4), min_lstm_step),
    "QRNN": (jaxrnn.QRNN(3, 4), qrnn_step),
    "SRU": (jaxrnn.SRU(3, 4), sru_step),
    "SRU, square": (jaxrnn.SRU(4, 4), sru_square_step),
    "GLA": (jaxrnn.GLA(3, 6, HEADS, 2), gla_step),
    "SSD": (jaxrnn.SSD(3, 6, HEADS, 2), ssd_step),
    "DeltaNet": (jaxrnn.DeltaNet(3, 6, HEADS), delta_net_step),
    "DeltaNet, negative": (
        jaxrnn.DeltaNet(3, 6, HEADS, negative_eigenvalues=True),
        negative_delta_net_step,
    ),
    "GatedDeltaNet": (jaxrnn.GatedDeltaNet(3, 6, HEADS, 2), gated_delta_net_step),
    "MLSTM": (jaxrnn.MLSTM(3, 6, HEADS, 2), mlstm_step),
}
each_cell = pytest.mark.parametrize("name", CELLS)


class Problem(NamedTuple):
    """Random numbers in every leaf, and the weights of a loss."""

    params: object
    xs: np.ndarray
    state: object
    weights: tuple


def problem_of(cell):
    rng = np.random.default_rng(0)

    def random(like, rows=()):
        v = rng.uniform(-1, 1, (*rows, *like.shape))
        if like.dtype.kind == "c":
            v = v + 1j * rng.uniform(-1, 1, v.shape)
        return v

    shapes = jax.eval_shape(cell.init, jax.random.key(0))
    params = jax.tree.map(random, shapes)
    one = jax.eval_shape(cell.initial_state, shapes)
    x = jax.ShapeDtypeStruct((cell.input_size,), jnp.float64)
    y = jax.eval_shape(cell.step, shapes, one, x)[1]
    state, weights = (jax.tree.map(random, one) for _ in range(2))
    xs = random(x, (TIME,))
    return Problem(params, xs, state, (weights, random(y, (TIME,))))


def answer(cell, problem):
    """jaxrnn's `(state, ys)` for one sequence, and the gradient of a random linear function."""

    @jax.jit
    def run(problem):
        def loss(params, xs, state):
            rows = jax.tree.map(lambda s: s[None], state)
            after, ys = jaxrnn.unroll(cell, params, xs[:, None], rows)
            results = jax.tree.map(lambda s: s[0], after), ys[:, 0]
            parts = jax.tree.map(
                lambda w, r: jnp.sum(w * r).real, problem.weights, results
            )
            return sum(jax.tree.leaves(parts)), results

        value, pull, results = jax.vjp(loss, *problem[:3], has_aux=True)
        return results, pull(jnp.ones_like(value))

    return run(jax.tree.map(jnp.asarray, problem))


def loops(step, problem):
    state, ys = problem.state, []
    for x in problem.xs:
        state, y = step(problem.params, state, x)
        ys.append(y)
    return state, np.stack(ys)


@each_cell
def test_outputs_final_state_and_gradients(name, x64):
    """Values to rounding; gradients along random directions, against differences."""
    cell, step = CELLS[name]
    problem = problem_of(cell)
    got, gradients = answer(cell, problem)
    want = loops(step, problem)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)

    def loss(given):
        results = loops(step, Problem(*given, None))
        pairs = zip(
            jax.tree.leaves(problem.weights), jax.tree.leaves(results), strict=True
        )
        return sum(np.sum(w * r).real for w, r in pairs)

    given, slopes = list(problem[:3]), jax.tree.leaves(gradients)
    leaves, structure = jax.tree.flatten(given)
    rng = np.random.default_rng(1)
    for place, (leaf, slope) in enumerate(zip(leaves, slopes, strict=True)):
        direction = rng.normal(size=leaf.shape).astype(leaf.dtype)
        if leaf.dtype.kind == "c":
            direction = direction + 1j * rng.normal(size=leaf.shape)
        sides = []
        for sign in (1, -1):
            moved = list(leaves)
            moved[place] = leaf + sign * 1e-5 * direction
            sides.append(loss(jax.tree.unflatten(structure, moved)))
        want_slope = (sides[0] - sides[1]) / 2e-5
        got_slope = np.sum(np.asarray(slope) * direction).real
        np.testing.assert_allclose(got_slope, want_slope, rtol=1e-6, atol=1e-8)
