"""Fixed points: cells whose fixed points are known, and every kind of state."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import optimize

import jaxrnn
from jaxrnn import GRU, LRU, LSTM, Elman, IndRNN, diagnostics

from .helpers import each


KEY = jax.random.key(0)


def affine(size: int, seed: int = 0):
    """h' = A h + b under a constant input, with the params and the matrix A."""
    cell = Elman(2, size, activation=lambda h: h)
    params = cell.init(jax.random.key(seed))
    matrix = np.random.default_rng(seed).normal(size=(size, size)).astype(np.float32)
    return cell, params._replace(u=jnp.asarray(matrix.T)), matrix


def by_size(values):
    return sorted(np.asarray(values).tolist(), key=lambda v: (v.real, v.imag))


@each("scale", [0.2, 0.8])
def test_the_fixed_point_of_an_affine_cell(scale):
    """(I - A)^-1 (W x + b), and the eigenvalues of A."""
    cell, params, matrix = affine(6)
    params, matrix = params._replace(u=scale * params.u), scale * matrix
    x = jnp.array([1.0, -2.0])
    starts = 5 * jax.random.normal(KEY, (20, 6))
    found = diagnostics.fixed_points(cell, params, x, starts)
    want = np.linalg.solve(np.eye(6) - matrix, np.asarray(x @ params.w + params.b))
    np.testing.assert_allclose(found.states, want[None], rtol=1e-4, atol=1e-5)
    eigenvalues = np.linalg.eigvals(matrix)
    np.testing.assert_allclose(
        by_size(found.eigenvalues[0]), by_size(eigenvalues), atol=1e-5
    )
    radius = np.abs(eigenvalues).max()
    assert 0.2 < radius < 1.5 and (radius < 1) == (scale == 0.2)
    assert found.stable.tolist() == [radius < 1]
    assert found.unstable.tolist() == [np.sum(np.abs(eigenvalues) > 1)]
    assert (found.searches.tolist(), found.failed) == ([20], 0)


def test_a_tanh_unit_of_gain_2_has_two_stable_points_and_one_between_them(x64):
    """h = tanh(2 h + 0.1), against roots by bisection."""
    cell = Elman(1, 1)
    params = cell.init(KEY)._replace(u=jnp.full((1, 1), 2.0), w=jnp.ones((1, 1)))
    starts = jnp.linspace(-1.5, 1.5, 31)[:, None]
    found = diagnostics.fixed_points(cell, params, jnp.array([0.1]), starts)
    residual = lambda h: np.tanh(2 * h + 0.1) - h
    brackets = [(-2, -0.5), (-0.5, 0.5), (0.5, 2)]
    roots = [optimize.brentq(residual, *bracket, xtol=1e-14) for bracket in brackets]
    order = np.argsort(found.states[:, 0])
    np.testing.assert_allclose(found.states[order, 0], roots, atol=1e-10)
    slopes = 2 * (1 - np.tanh(2 * np.array(roots) + 0.1) ** 2)
    np.testing.assert_allclose(found.eigenvalues[order, 0], slopes, atol=1e-9)
    assert found.stable.tolist() == [True, True, False]
    assert found.unstable.tolist() == [0, 0, 1]
    assert found.searches.sum() == 31 and found.failed == 0


LAYERS = [
    GRU(3, 8),
    GRU(3, 8, reset_after=False),
    LSTM(3, 8),
    LRU(3, 6),
    jaxrnn.Stack((Elman(3, 4), LSTM(4, 5), jaxrnn.Dense(5, 2))),
    jaxrnn.GatedDeltaNet(3, 4, heads=2),
]


@each("layer", LAYERS, LAYERS[2:5])
def test_every_kind_of_state_comes_to_rest(layer):
    """A step from a point that was found changes nothing, in any part of the state."""
    params, x = layer.init(KEY), jnp.array([0.5, -1.0, 0.2])
    xs = jax.random.normal(KEY, (30, 4, 3))
    visited = diagnostics.visited_states(layer, params, xs)
    starts = diagnostics.sample_states(KEY, visited, 20, noise=0.1)
    found = diagnostics.fixed_points(layer, params, x, starts, reach=jnp.inf)
    assert found.searches.sum() + found.failed == 20 and found.failed <= 2
    after, _ = jax.vmap(layer.step, in_axes=(None, 0, None))(params, found.states, x)
    for old, new in zip(
        jax.tree.leaves(found.states), jax.tree.leaves(after), strict=True
    ):
        assert old.dtype == new.dtype
        np.testing.assert_allclose(old, new, atol=2e-5)
    numbers = sum(
        s[0].size * (1 + jnp.iscomplexobj(s)) for s in jax.tree.leaves(found.states)
    )
    assert found.eigenvalues.shape == (len(found.stable), numbers)
    assert (found.speeds < 1e-9).all()


def test_the_eigenvalues_of_a_complex_state_come_in_conjugate_pairs():
    cell = LRU(3, 4)
    params = cell.init(KEY)
    starts = jnp.ones((3, 4), jnp.complex64)
    found = diagnostics.fixed_points(cell, params, jnp.ones(3), starts)
    a, _ = cell.coefficients(params, cell.project(params, jnp.ones(3)))
    want = np.concatenate([a, np.conj(a)])
    np.testing.assert_allclose(by_size(found.eigenvalues[0]), by_size(want), atol=1e-5)


def test_a_line_attractor_gives_points_along_it():
    """h1' = h1, h2' = h2 / 2: every (h1, 0) is a fixed point, on the edge of stability."""
    cell = IndRNN(2, 2, activation=lambda h: h)
    params = cell.init(KEY)._replace(u=jnp.array([1.0, 0.5]))
    starts = jnp.stack([jnp.linspace(-2, 2, 9), jnp.ones(9)], axis=1)
    found = diagnostics.fixed_points(cell, params, jnp.zeros(2), starts)
    np.testing.assert_allclose(np.sort(found.states[:, 0]), starts[:, 0], atol=1e-5)
    np.testing.assert_allclose(found.states[:, 1], 0, atol=1e-5)
    assert not found.stable.any() and (found.unstable == 1).all()


def test_points_out_of_reach_are_left_out_and_counted():
    """h = tanh(2 h) from starts around one of the stable points."""
    cell = Elman(1, 1)
    params = cell.init(KEY)._replace(u=jnp.full((1, 1), 2.0))
    starts = jnp.linspace(-1, 1, 11)[:, None]
    near = jnp.concatenate([jnp.linspace(0.7, 1.2, 11)[:, None], jnp.full((1, 1), 0.4)])
    every = diagnostics.fixed_points(cell, params, jnp.zeros(1), near, reach=jnp.inf)
    some = diagnostics.fixed_points(cell, params, jnp.zeros(1), near, reach=0.1)
    assert every.far == 0 and some.far > 0 and len(every.stable) > len(some.stable) == 1
    assert every.searches.sum() == some.searches.sum() + some.far == 12
    with pytest.warns(UserWarning, match="and 11 ended out of reach"):
        diagnostics.fixed_points(cell, params, jnp.zeros(1), starts + 0.02, reach=1e-9)


def test_starts_that_are_not_finite_reach_no_other_search():
    cell = GRU(3, 4)
    params = cell.init(KEY)
    starts = jax.random.normal(KEY, (6, 4))
    bad = starts.at[2].set(jnp.nan).at[4, 0].set(jnp.inf)
    good = np.array([0, 1, 3, 5])
    want = diagnostics.search_fixed_points(cell, params, jnp.ones(3), starts)
    got = diagnostics.search_fixed_points(cell, params, jnp.ones(3), bad)
    assert got.converged.tolist() == [True, True, False, True, False, True]
    np.testing.assert_allclose(got.states[good], want.states[good], atol=1e-6)
    assert diagnostics.fixed_points(cell, params, jnp.ones(3), bad).failed == 2


@dataclass(frozen=True)
class Counter(jaxrnn.Cell):
    """h' = h + 1, which has no fixed point."""

    def init(self, key):
        return jnp.ones(2)

    def initial_state(self, params):
        return jnp.zeros(2)

    def recur(self, params, state, z):
        return state + params


@pytest.mark.parametrize("start", [0.0, np.nan])
def test_a_cell_without_fixed_points_gives_no_points_and_says_so(start):
    starts = jnp.full((5, 2), start)
    with pytest.warns(UserWarning, match="found a fixed point: 5 did not converge"):
        found = diagnostics.fixed_points(Counter(), jnp.ones(2), jnp.zeros(()), starts)
    assert found.failed == 5
    shapes = [np.shape(leaf)[0] for leaf in found[:-2]]
    assert shapes == [0] * 6 and found.eigenvalues.shape == (0, 2)
    draw(found, jnp.zeros((3, 1, 2)))


def test_a_slow_point_is_not_a_fixed_point():
    """h' = h + 1e-3 + 0.1 h^2 is slowest at 0, where q = 5e-7, and never at rest."""

    @dataclass(frozen=True)
    class Ghost(Counter):
        def recur(self, params, state, z):
            return state + params * (1e-3 + 0.1 * state**2)

    starts = jnp.full((3, 2), 0.3)
    found = diagnostics.search_fixed_points(Ghost(), jnp.ones(2), jnp.zeros(()), starts)
    assert not found.converged.any()
    slow = diagnostics.search_fixed_points(
        Ghost(), jnp.ones(2), jnp.zeros(()), jnp.zeros((1, 2)), steps=1
    )
    assert slow.speeds[0] < 2e-6 and not slow.converged[0]


def test_the_search_works_inside_jit_and_vmap():
    cell = GRU(3, 4)
    params = cell.init(KEY)
    xs, starts = jax.random.normal(KEY, (2, 3)), jax.random.uniform(KEY, (5, 4))
    search = lambda x: diagnostics.search_fixed_points(cell, params, x, starts)
    many = jax.jit(jax.vmap(search))(xs)
    for i, x in enumerate(xs):
        np.testing.assert_allclose(many.states[i], search(x).states, atol=1e-5)
    with pytest.raises(TypeError, match="search_fixed_points, which has fixed shapes"):
        jax.jit(lambda s: diagnostics.fixed_points(cell, params, xs[0], s))(starts)


def test_the_derivative_of_a_fixed_point():
    """Of the affine cell: d s / d x = (I - A)^-1 W."""
    cell, params, matrix = affine(4)
    params, matrix = params._replace(u=0.2 * params.u), 0.2 * matrix
    starts = jnp.ones((1, 4))
    at = lambda x: diagnostics.search_fixed_points(cell, params, x, starts).states[0]
    want = np.linalg.solve(np.eye(4) - matrix, np.asarray(params.w.T))
    got = jax.jacrev(at)(jnp.array([1.0, -2.0]))
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


gru = GRU(3, 4)
params = gru.init(KEY)
x, starts = jnp.zeros(3), jnp.zeros((5, 4))
find = diagnostics.fixed_points
BAD = {
    "no layer": (lambda: find(gru.init, params, x, starts), TypeError, "layer"),
    "no array": (lambda: find(gru, params, "x", starts), TypeError, "x is or holds str"),
    "one state": (lambda: find(gru, params, x, starts[0]), ValueError, r"\(4, 4\) is needed"),
    "units": (lambda: find(gru, params, x, starts[:, :3]), ValueError, r"\(5, 4\) is needed"),
    "no state": (lambda: find(gru, params, x, starts[:0]), ValueError, "N is 0"),
    "features": (lambda: find(gru, params, x[:2], starts), ValueError, "takes 3 features"),
    "integers": (lambda: find(gru, params, x, starts.astype(int)), TypeError, "int32"),
    "params": (lambda: find(gru, params[:1], x, starts), ValueError, "structure"),
    "steps": (lambda: find(gru, params, x, starts, steps=0), ValueError, "steps is 0"),
    "tolerance": (lambda: find(gru, params, x, starts, tolerance=0.0), ValueError, "above 0"),
    "distance": (lambda: find(gru, params, x, starts, distance=-1.0), ValueError, "above 0"),
    "memoryless": (
        lambda: find(jaxrnn.Dense(3, 4), jaxrnn.Dense(3, 4).init(KEY), x, ()),
        NotImplementedError, "no state",
    ),
    "two directions": (
        lambda: find(jaxrnn.Bidirectional(gru), jaxrnn.Bidirectional(gru).init(KEY), x,
                     jaxrnn.layers.Directions(starts, starts)),
        NotImplementedError, "cannot take single steps",
    ),
    "samples": (
        lambda: diagnostics.sample_states(KEY, starts[None], 0), ValueError, "number is 0",
    ),
    "time": (
        lambda: diagnostics.visited_states(gru, params, jnp.zeros((0, 2, 3))),
        ValueError, "no time steps",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("time", [1, 6])
def test_visited_states_are_those_of_unroll(time):
    cell = LSTM(3, 4)
    params, xs = cell.init(KEY), jax.random.normal(KEY, (time, 2, 3))
    got = diagnostics.visited_states(cell, params, xs)
    _, want = jaxrnn.unroll(jaxrnn.AllStates(cell), params, xs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, want)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
def test_samples_are_visited_states_with_noise(dtype):
    states = jnp.arange(6.0).reshape(3, 2, 1).astype(dtype)
    plain = diagnostics.sample_states(KEY, states, 1000)
    assert set(np.asarray(plain).real.ravel()) == set(range(6))
    noisy = diagnostics.sample_states(KEY, jnp.zeros((3, 2, 1), dtype), 4000, noise=0.5)
    parts = [np.real(noisy), np.imag(noisy)] if dtype == jnp.complex64 else [noisy]
    for part in parts:
        np.testing.assert_allclose(np.std(part), 0.5, rtol=0.05)


def draw(points, trajectories):
    figure = Figure()
    ax = figure.add_subplot()
    diagnostics.plot_fixed_points(ax, points, trajectories)
    figure.canvas.draw()
    return ax


def test_the_plot_fills_stable_points_only():
    cell = Elman(1, 1)
    params = cell.init(KEY)._replace(u=jnp.full((1, 1), 2.0))
    starts = jnp.linspace(-1, 1, 9)[:, None]
    found = diagnostics.fixed_points(cell, params, jnp.zeros(1), starts)
    visited = diagnostics.visited_states(
        cell, params, jnp.zeros((5, 9, 1)), state=starts
    )
    ax = draw(found, visited)
    stable, unstable = ax.collections
    assert len(stable.get_offsets()) == 2 and len(stable.get_facecolors()) == 1
    assert len(unstable.get_offsets()) == 1 and len(unstable.get_facecolors()) == 0
    assert ax.get_xlabel() == "PC 1 (100% of the variance)"
    places = np.sort(np.abs(np.asarray(stable.get_offsets())[:, 0]))
    np.testing.assert_allclose(places, 0.9575, atol=1e-3)


def test_the_axes_of_the_plot_are_principal_components():
    """States that vary by 3 along (1, 1, 0) and by 1 along (0, 0, 1)."""
    random = np.random.default_rng(0)
    along = random.normal(size=(2, 500)) * [[3], [1]]
    directions = np.array([[0.5**0.5, 0.5**0.5, 0], [0, 0, 1]])
    visited = jnp.asarray((along.T @ directions).reshape(50, 10, 3), jnp.float32)
    cell = Elman(1, 3)
    params = cell.init(KEY)
    points = diagnostics.fixed_points(cell, params, jnp.zeros(1), jnp.zeros((1, 3)))
    ax = draw(points, visited)
    assert ax.get_xlabel() == "PC 1 (91% of the variance)"
    assert ax.get_ylabel() == "PC 2 (9% of the variance)"
    first = ax.lines[0].get_xdata()
    visited = np.asarray(visited)
    want = (visited[:, 0] - visited.mean(axis=(0, 1))) @ directions[0]
    np.testing.assert_allclose(np.abs(first), np.abs(want), atol=0.3)
