"""Approximate gradients against their published recursions in NumPy, and their means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import jaxrnn
from jaxrnn import KFRTRL, RFLO, UORO, EProp, Immediate, SnAp
from jaxrnn.gradients import GivenFeedback


T, X, H = 4, 2, 3
RNG = np.random.default_rng(0)
XS, TARGETS = RNG.standard_normal((T, X)), RNG.standard_normal((T, H))
B = RNG.standard_normal((H, H))


def squares(y, target):
    return jnp.sum((y - target) ** 2)


def run(method, layer, params, key=None):
    """The gradient that a method gives, as a list of arrays."""
    grads = jaxrnn.value_and_grad(
        layer, squares, params, jnp.asarray(XS)[:, None], jnp.asarray(TARGETS)[:, None],
        method=method, key=key,
    )[1]  # fmt: skip
    return [T * np.asarray(leaf) for leaf in jax.tree.leaves(grads)]


def noisy(layer):
    params = layer.init(jax.random.key(0))
    return jax.tree.map(lambda p: p + 0.3 * RNG.standard_normal(p.shape), params)


def elman(jacobian, feedback=None, leak=None):
    """Gradients by w, u, b of an Elman network or, with a leak, of a CTRNN.

    `jacobian(slope, u)` is the matrix by which a trace is followed: `e' = e J + I`.
    """
    layer = jaxrnn.Elman(X, H) if leak is None else jaxrnn.CTRNN(X, H)
    params = noisy(layer)
    w, u, b = (np.asarray(p) for p in params[:3])
    alpha = 1.0 if leak is None else 1 - np.exp(-1 / np.exp(np.asarray(params[3])))
    h = np.zeros(H)
    traces = [np.zeros((*p.shape, H)) for p in (w, u, b)]
    grads = [np.zeros_like(p) for p in (w, u, b)]
    for x, target in zip(XS, TARGETS, strict=True):
        new = np.tanh(x @ w + h @ u + b)
        slope = alpha * (1 - new**2)
        follow = jacobian(slope, u, 1 - alpha)
        unit = np.diag(slope)  # d h_k / d pre-activation_j
        immediate = [
            np.einsum("i,jk->ijk", x, unit), np.einsum("i,jk->ijk", h, unit), unit
        ]  # fmt: skip
        traces = [e @ follow + i for e, i in zip(traces, immediate, strict=True)]
        h = (1 - alpha) * h + alpha * new
        error = 2 * (h - target)
        signal = error if feedback is None else feedback @ error
        grads = [g + e @ signal for g, e in zip(grads, traces, strict=True)]
    return layer, params, grads


def full(slope, u, keep):
    return u * slope + np.diag(np.broadcast_to(keep, H))


def own(slope, u, keep):
    return np.diag(np.diag(full(slope, u, keep)))


def leak(slope, u, keep):
    return np.diag(np.broadcast_to(keep, H))


def nothing(slope, u, keep):
    return np.zeros((H, H))


RULES = [
    (SnAp(1), own, None, None),
    (SnAp(1), own, None, "leak"),
    (EProp(), leak, None, "leak"),
    (RFLO(GivenFeedback(B)), leak, B, "leak"),
    (RFLO(GivenFeedback(B)), leak, B, None),
    (Immediate(), nothing, None, None),
    (Immediate(), nothing, None, "leak"),
    (SnAp(2), full, None, None),
]


@pytest.mark.parametrize("method, jacobian, feedback, leaky", RULES)
def test_the_published_recursion(method, jacobian, feedback, leaky, x64):
    layer, params, want = elman(jacobian, feedback, leaky)
    got = run(method, layer, params)
    for mine, retyped in zip(got, want, strict=False):
        np.testing.assert_allclose(mine, retyped, rtol=1e-10, atol=1e-12)
    exact = elman(full, None, leaky)[2]
    different = max(np.abs(a - e).max() for a, e in zip(want, exact, strict=True))
    assert jacobian is full or different > 1e-2


def test_e_prop_of_an_lstm(x64):
    """Traces of c alone, followed by the forget gate; h sees them through the output gate."""
    layer = jaxrnn.LSTM(X, H)
    params = noisy(layer)
    w, u, b = (np.asarray(p) for p in params)
    sigmoid = lambda a: 1 / (1 + np.exp(-a))
    h, c = np.zeros(H), np.zeros(H)
    of_c = [np.zeros(p.shape) for p in (w, u, b)]
    grads = [np.zeros(p.shape) for p in (w, u, b)]
    for x, target in zip(XS, TARGETS, strict=True):
        a_i, a_f, a_g, a_o = np.split(x @ w + h @ u + b, 4)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        by_gate = np.concatenate(
            [g * i * (1 - i), c * f * (1 - f), i * (1 - g**2), np.zeros(H)]
        )  # d c / d pre-activation
        c_old, c = c, f * c + i * g
        by_o = np.concatenate([np.zeros(3 * H), np.tanh(c) * o * (1 - o)])
        inputs = [x[:, None], h[:, None], 1.0]
        h = o * np.tanh(c)
        signal = np.tile(2 * (h - target), 4)
        through = np.tile(o * (1 - np.tanh(c) ** 2), 4)
        of_c = [
            np.tile(f, 4) * e + v * by_gate for e, v in zip(of_c, inputs, strict=True)
        ]
        grads = [
            total + signal * (through * e + v * by_o)
            for total, e, v in zip(grads, of_c, inputs, strict=True)
        ]
        del c_old
    for mine, retyped in zip(run(EProp(), layer, params), grads, strict=True):
        np.testing.assert_allclose(mine, retyped, rtol=1e-10, atol=1e-12)
    exact = run(jaxrnn.BPTT(), layer, params)
    assert max(np.abs(a - e).max() for a, e in zip(grads, exact, strict=True)) > 1e-2


def test_uoro_with_its_own_signs(x64):
    layer = jaxrnn.Elman(X, H)
    params, key = noisy(layer), jax.random.key(7)
    w, u, b = (np.asarray(p) for p in params)
    (mine,) = jax.random.split(key, 1)
    chain, _ = jax.random.split(mine)
    h, s, q = np.zeros(H), np.zeros(H), np.zeros(X * H + H * H + H)
    total = np.zeros_like(q)
    size = np.linalg.norm
    for x, target in zip(XS, TARGETS, strict=True):
        chain, now = jax.random.split(chain)
        signs = np.asarray(jax.random.rademacher(now, (H,), jnp.float64))
        new = np.tanh(x @ w + h @ u + b)
        slope = 1 - new**2
        moved = s @ (u * slope)
        v = signs * slope
        immediate = np.concatenate([np.outer(x, v).ravel(), np.outer(h, v).ravel(), v])
        rho_0 = np.sqrt(size(q) / size(moved)) if size(moved) else 1.0
        rho_1 = np.sqrt(size(immediate) / size(signs))
        s, q = rho_0 * moved + rho_1 * signs, q / rho_0 + immediate / rho_1
        h = new
        total += (2 * (h - target) @ s) * q
    got = np.concatenate([leaf.ravel() for leaf in run(UORO(), layer, params, key)])
    np.testing.assert_allclose(got, total, rtol=1e-9)


@pytest.mark.parametrize(
    "method, layer",
    [
        (UORO(), jaxrnn.Elman(X, H)),
        (UORO(), jaxrnn.LearnedState(jaxrnn.Elman(X, H))),
        (KFRTRL(), jaxrnn.Elman(X, H)),
        (KFRTRL(), jaxrnn.GRU(X, H, reset_after=False)),
    ],
)
def test_the_mean_over_many_keys_is_the_exact_gradient(method, layer, x64):
    """Fails by chance once in 10^6 runs, if the mean is normal: 4,000 keys, Bonferroni."""
    params = noisy(layer)
    exact = np.concatenate([leaf.ravel() for leaf in run(jaxrnn.BPTT(), layer, params)])

    def one(key):
        grads = jaxrnn.value_and_grad(
            layer, squares, params, jnp.asarray(XS)[:, None], jnp.asarray(TARGETS)[:, None],
            method=method, key=key,
        )[1]  # fmt: skip
        return jnp.concatenate([T * leaf.ravel() for leaf in jax.tree.leaves(grads)])

    many = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), 4000)))
    error = many.mean(0) - exact
    spread = many.std(0, ddof=1) / np.sqrt(len(many))
    bound = norm.ppf(1 - 1e-6 / (2 * exact.size))
    varied = spread > 1e-12
    assert varied.sum() > exact.size / 2, "the method draws nothing"
    assert np.all(np.abs(error[varied]) < bound * spread[varied])
    np.testing.assert_allclose(many.mean(0)[~varied], exact[~varied], rtol=1e-9)
    # one draw is far from the mean: the test can tell a wrong mean
    assert np.abs(many[0] - exact).max() > 1e-2
