"""Measures of the dynamics, each on a case with a known answer."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import diagnostics

from .helpers import CELLS, each


KEY = jax.random.key(0)


def test_gradient_norm_by_lag_of_a_linear_chain():
    """h' = a h + x: the norm k steps back is a^k, exactly."""
    cell = jaxrnn.IndRNN(1, 1, activation=lambda h: h)
    params = cell.init(KEY)._replace(u=jnp.array([0.8]))
    xs = jax.random.normal(KEY, (12, 3, 1))
    norms = diagnostics.gradient_norm_by_lag(
        cell, params, xs, jnp.zeros(3), lambda y, target: jnp.sum(y - target)
    )
    np.testing.assert_allclose(norms, 0.8 ** np.arange(1, 13), rtol=1e-5)


def test_gradient_norm_by_lag_equals_autodiff_through_unroll():
    """Against the gradient of `unroll` with respect to the state it starts from."""
    model = jaxrnn.Stack((jaxrnn.LSTM(3, 4), jaxrnn.GRU(4, 2)))
    params, xs = model.init(KEY), jax.random.normal(KEY, (9, 3, 3))
    targets = jnp.ones((3, 2))

    def step_loss(y, target):
        return jnp.sum((y - target) ** 2)

    norms = diagnostics.gradient_norm_by_lag(model, params, xs, targets, step_loss)
    assert norms.shape == (9,)
    for lag in (1, 4, 9):
        before = None
        if lag < 9:
            before, _ = jaxrnn.unroll(model, params, xs[:-lag])
        else:
            one = model.initial_state(params)
            before = jax.tree.map(lambda s: jnp.broadcast_to(s, (3, *s.shape)), one)

        def loss(state, lag=lag):
            _, ys = jaxrnn.unroll(model, params, xs[-lag:], state)
            return jnp.sum((ys[-1] - targets) ** 2)

        grads = jax.tree.leaves(jax.grad(loss)(before))
        rows = np.sqrt(sum(np.sum(np.asarray(g) ** 2, axis=1) for g in grads))
        np.testing.assert_allclose(norms[lag - 1], rows.mean(), rtol=1e-5)


def chain(factor: float):
    """h' = factor h + x."""
    cell = jaxrnn.IndRNN(1, 1, activation=lambda h: h)
    return cell, cell.init(KEY)._replace(u=jnp.array([factor]))


@each("cell", CELLS, CELLS[::4])
def test_step_jacobians_equal_differences_of_steps(cell):
    """By central differences of `step`, in float64: every kind of state, complex ones too."""
    with jax.enable_x64(True):
        size = cell.input_size
        params, xs = cell.init(KEY), jax.random.normal(KEY, (3, 2, size))
        got = diagnostics.step_jacobians(cell, params, xs)
        state, _ = jaxrnn.unroll(cell, params, xs[:2])
        one = jax.tree.map(lambda s: s[1], state)
        leaves, tree = jax.tree.flatten(one)
        ends = np.cumsum(
            [0, *(np.asarray(leaf).view(np.float64).size for leaf in leaves)]
        )

        def stepped(vector):
            # real parts of a leaf, then imaginary parts
            parts = [vector[a:b] for a, b in itertools.pairwise(ends)]
            made = [
                (p[: v.size] + 1j * p[v.size :] if jnp.iscomplexobj(v) else p)
                for p, v in zip(parts, leaves, strict=True)
            ]
            made = [
                jnp.asarray(m.reshape(v.shape))
                for m, v in zip(made, leaves, strict=True)
            ]
            return flat(cell.step(params, jax.tree.unflatten(tree, made), xs[2, 1])[0])

        point, h = flat(one), 1e-6
        assert got.shape == (3, 2, len(point), len(point))
        columns = [
            (stepped(point + h * e) - stepped(point - h * e)) / (2 * h)
            for e in np.eye(len(point))
        ]
        np.testing.assert_allclose(got[2, 1], np.stack(columns, axis=1), atol=1e-7)


def flat(tree) -> np.ndarray:
    parts = []
    for leaf in map(np.asarray, jax.tree.leaves(tree)):
        parts += [leaf.real, leaf.imag] if np.iscomplexobj(leaf) else [leaf]
    return np.concatenate([np.ravel(part) for part in parts])


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_singular_values_equal_those_of_numpy(k):
    jacobians = jax.random.normal(KEY, (4, 2, k, k))
    each_step = diagnostics.jacobian_singular_values(jacobians)
    by_lag = diagnostics.product_singular_values(jacobians)
    matrices = np.asarray(jacobians, np.float64)
    for b in range(2):
        product = np.eye(k)
        for lag in range(1, 5):
            product = product @ matrices[-lag, b]
            want = np.linalg.svd(product, compute_uv=False)
            np.testing.assert_allclose(by_lag[lag - 1, b], np.log(want), atol=3e-4)
            want = np.linalg.svd(matrices[-lag, b], compute_uv=False)
            np.testing.assert_allclose(each_step[-lag, b], want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("factors", [(30.0, 2.0, 1.0, 0.3, 0.1), (0.5, 0.5, 1e-3)])
def test_singular_values_of_long_products_neither_overflow_nor_underflow(factors):
    """J_t = Q_t diag(factors) Q_{t-1}^T: the product over a lag has the factors^lag."""
    rng, k = np.random.default_rng(0), len(factors)
    q = np.linalg.qr(rng.normal(size=(301, k, k)))[0]
    jacobians = q[1:] * np.array(factors) @ q[:-1].transpose(0, 2, 1)
    logs = diagnostics.product_singular_values(jnp.float32(jacobians[:, None]))
    want = np.arange(1, 301)[:, None] * np.log(factors)
    np.testing.assert_allclose(logs[:, 0], want, rtol=1e-5, atol=1e-3)


def test_singular_values_of_a_singular_product():
    """A unit that forgets: one singular value is 0 at every lag, and the other is known."""
    jacobians = jnp.tile(jnp.array([[0.5, 0.0], [0.0, 0.0]]), (6, 1, 1, 1))
    logs = diagnostics.product_singular_values(jacobians)[:, 0]
    np.testing.assert_allclose(logs[:, 0], np.arange(1, 7) * np.log(0.5), rtol=1e-6)
    assert np.all(np.isneginf(logs[:, 1]))


@pytest.mark.parametrize("factor", [0.5, 0.9])
def test_effective_memory_of_a_leaky_unit(factor):
    """For h' = a h + x the gradient falls as a^k, whose mean lag is 1 / (1 - a)."""
    cell, params = chain(factor)
    norms = diagnostics.gradient_norm_by_lag(
        cell, params, jnp.ones((300, 2, 1)), jnp.zeros(2), lambda y, t: jnp.sum(y - t)
    )
    memory = diagnostics.effective_memory(norms)
    np.testing.assert_allclose(memory, 1 / (1 - factor), rtol=1e-4)
    huge = diagnostics.effective_memory(jnp.array([1.0, 3.0]) * 1e38)
    np.testing.assert_allclose(huge, 1.75, rtol=1e-5)  # the sum is above 3.4e38
    assert diagnostics.effective_memory(jnp.zeros(5)) == 0
    assert np.isnan(diagnostics.effective_memory(jnp.array([1.0, jnp.inf])))


def gates_of_lstm(cell, params, xs):
    """f, i, o of the first sequence, written out."""
    h, c, found = np.zeros(4), np.zeros(4), []
    w, u, b = map(np.asarray, params)
    for x in np.asarray(xs[:, 0]):
        i, f, g, o = np.split(x @ w + h @ u + b, 4)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        found.append((f, i, o))
    return np.array(found)


def test_gate_saturation_counts_the_gates_of_an_lstm():
    cell = jaxrnn.LSTM(3, 4, w_init=jaxrnn.initializers.Uniform(-4.0, 4.0))
    params, xs = cell.init(KEY), jax.random.normal(KEY, (40, 1, 3))
    gates = gates_of_lstm(cell, params, xs)
    found = diagnostics.gate_saturation(cell, params, xs, low=0.2, high=0.7)
    assert list(found) == [f"LSTM 1, gate {i}" for i in (1, 2, 3)]
    for i, gate in enumerate(found.values()):
        np.testing.assert_allclose(gate.below, (gates[:, i] < 0.2).mean(0), rtol=1e-6)
        np.testing.assert_allclose(gate.above, (gates[:, i] > 0.7).mean(0), rtol=1e-6)
        assert 0 < gate.below.mean() < 1 and 0 < gate.above.mean() < 1


GATES = {
    jaxrnn.LSTM(3, 4, gate_activation=jax.nn.hard_sigmoid): ["LSTM 1"] * 3,
    jaxrnn.GRU(3, 4): ["GRU 1"] * 2,
    jaxrnn.MGU(3, 4): ["MGU 1"],
    jaxrnn.MinGRU(3, 4): ["MinGRU 1"] * 2,  # z and 1 - z, but not the activation's
    jaxrnn.MLSTM(3, 4, heads=2): ["MLSTM 1"] * 2,  # log f, and o
    jaxrnn.Stack((jaxrnn.MGU(3, 4), jaxrnn.Elman(4, 4), jaxrnn.QRNN(4, 4))): [
        "MGU 1",
        *["QRNN 3"] * 3,  # f, 1 - f, o
    ],
    jaxrnn.Elman(3, 4): None,
    jaxrnn.LRU(3, 4): None,
    jaxrnn.SSD(3, 4, heads=2): None,  # its SiLU is not a gate
}


@each("layer", list(GATES))
def test_gates_are_found_in_the_cells(layer):
    params, xs = layer.init(KEY), jax.random.normal(KEY, (6, 2, 3))
    if GATES[layer] is None:
        with pytest.raises(NotImplementedError, match="has no gates"):
            diagnostics.gate_saturation(layer, params, xs)
        return
    found = diagnostics.gate_saturation(layer, params, xs, low=0.5, high=0.51)
    assert [name.split(",")[0] for name in found] == GATES[layer]
    for gate in found.values():
        assert jnp.all((gate.below >= 0) & (gate.above >= 0))
        assert jnp.all(gate.below + gate.above <= 1)
        assert (gate.below + gate.above).mean() > 0.5


MEASURES = {
    "jacobians": diagnostics.step_jacobians,
    "lyapunov": diagnostics.lyapunov_spectrum,
    "gates": diagnostics.gate_saturation,
    "norms": lambda layer, params, xs: diagnostics.gradient_norm_by_lag(
        layer, params, xs, jnp.zeros(jnp.shape(xs)[1]), lambda y, t: jnp.sum(y) - t
    ),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_every_measure_refuses_what_it_cannot_take(measure):
    cell = jaxrnn.GRU(3, 4)
    params = cell.init(KEY)
    for shape, words in {
        (5, 2, 4): "features",
        (5, 3): "cannot take a step|time-major",
        (0, 2, 3): "no time steps",
        (5, 0, 3): "no sequences",
    }.items():
        with pytest.raises(ValueError, match=words):
            measure(cell, params, jnp.zeros(shape))
    with pytest.raises(TypeError, match="give a jaxrnn layer"):
        measure(len, params, jnp.zeros((5, 2, 3)))
    dense = jaxrnn.Dense(3, 4)
    with pytest.raises(NotImplementedError, match="no state"):
        measure(dense, dense.init(KEY), jnp.zeros((5, 2, 3)))


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_every_measure_runs_inside_jit_for_one_step_and_with_nan(measure):
    cell = jaxrnn.GRU(3, 4)
    params, xs = cell.init(KEY), jax.random.normal(KEY, (1, 2, 3))
    jitted = jax.jit(measure, static_argnums=0)
    got, want = jitted(cell, params, xs), measure(cell, params, xs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, want)
    spoiled = jitted(cell, params, xs.at[0, 0, 0].set(jnp.nan))
    if measure is not diagnostics.gate_saturation:  # a NaN is on neither side
        assert all(np.isnan(v).any() for v in jax.tree.leaves(spoiled))


def test_bad_bounds_targets_and_arrays_are_refused():
    cell = jaxrnn.GRU(3, 4)
    params, xs = cell.init(KEY), jnp.zeros((5, 2, 3))
    with pytest.raises(ValueError, match="0 <= low < high <= 1"):
        diagnostics.gate_saturation(cell, params, xs, low=0.9, high=0.1)
    with pytest.raises(ValueError, match="targets of the last step"):
        diagnostics.gradient_norm_by_lag(
            cell, params, xs, jnp.zeros(5), lambda y, t: jnp.sum(y - t)
        )
    for refuse in (
        diagnostics.jacobian_singular_values,
        diagnostics.product_singular_values,
    ):
        with pytest.raises(ValueError, match="as step_jacobians returns"):
            refuse(jnp.zeros((5, 2, 3)))
    with pytest.raises(ValueError, match="as gradient_norm_by_lag returns"):
        diagnostics.effective_memory(jnp.zeros(0))


DRAWN = [
    jaxrnn.Elman(3, 4),
    jaxrnn.Stack((jaxrnn.LSTM(3, 4), jaxrnn.Dense(4, 2))),
    jaxrnn.Dense(3, 4),
    jaxrnn.LRU(3, 1),
]


@each("layer,time", [*((layer, 12) for layer in DRAWN), (DRAWN[0], 1)])
def test_draw_draws_each_measure_or_says_why_not(layer, time, tmp_path):
    params, xs = layer.init(KEY), jax.random.normal(KEY, (time, 2, 3))
    targets = jnp.zeros_like(jaxrnn.unroll(layer, params, xs)[1][0])
    figure = diagnostics.draw(
        layer, params, xs, targets, lambda y, t: jnp.sum((y - t) ** 2)
    )
    figure.savefig(tmp_path / "figure.png")
    assert all(ax.get_title() for ax in figure.axes)
    empty = [ax.get_title() for ax in figure.axes if not ax.axison]
    count = {jaxrnn.Dense(3, 4): 8, DRAWN[1]: 0}.get(layer, 1)
    assert len(figure.axes) == 8 and len(empty) == count
    assert count != 1 or empty == ["gate saturation"]
