"""Laws of the Lyapunov spectrum, published exponents, and gradient flossing."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import diagnostics, training
from jaxrnn.diagnostics import lyapunov_spectrum

from .helpers import each


KEY = jax.random.key(0)


@dataclass(frozen=True)
class System(jaxrnn.Cell):
    """An autonomous system: `h' = step(params, h)`, whatever the input."""

    size: int

    def init(self, key):
        return jnp.zeros(self.parameters)

    def initial_state(self, params):
        return jnp.zeros(self.size, params.dtype)


class Linear(System):
    """h' = A h."""

    @property
    def parameters(self):
        return self.size, self.size

    def recur(self, params, state, z):
        return params @ state


class Henon(System):
    """Henon 1976: x' = 1 - a x^2 + y, y' = b x."""

    parameters = 2

    def recur(self, params, state, z):
        (a, b), (x, y) = params, state
        return jnp.stack([1 - a * x**2 + y, b * x])


class Lorenz(System):
    """Lorenz 1963, one step of Runge-Kutta of order 4 over 0.01 units of time."""

    parameters = 3

    def recur(self, params, state, z):
        sigma, rho, beta = params

        def rate(s):
            x, y, z = s
            return jnp.stack([sigma * (y - x), x * (rho - z) - y, x * y - beta * z])

        dt = 0.01
        k1 = rate(state)
        k2 = rate(state + dt / 2 * k1)
        k3 = rate(state + dt / 2 * k2)
        k4 = rate(state + dt * k3)
        return state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def quiet(time: int, batch: int):
    """Inputs that say nothing."""
    return jnp.zeros((time, batch, 1))


LAYERS = [
    jaxrnn.Elman(3, 5),
    jaxrnn.LSTM(3, 4),
    jaxrnn.LRU(3, 3),
    jaxrnn.Stack((jaxrnn.GRU(3, 4), jaxrnn.MinGRU(4, 3))),
]


@each("layer", LAYERS)
def test_the_spectrum_sums_to_the_log_of_the_determinant(layer, x64):
    params, xs = layer.init(KEY), jax.random.normal(KEY, (24, 2, 3))
    exponents, errors = lyapunov_spectrum(layer, params, xs)
    jacobians = diagnostics.step_jacobians(layer, params, xs)
    want = np.mean(np.linalg.slogdet(np.asarray(jacobians))[1])
    np.testing.assert_allclose(exponents.sum(), want, rtol=0, atol=1e-5)
    assert errors.shape == exponents.shape and (errors > 0).all()


@each("layer", LAYERS)
def test_the_spectrum_does_not_depend_on_the_qr_interval(layer, x64):
    params, xs = layer.init(KEY), jax.random.normal(KEY, (24, 2, 3))
    want = lyapunov_spectrum(layer, params, xs, discard=6).exponents
    for every in (2, 3):
        got = lyapunov_spectrum(layer, params, xs, every=every, discard=6).exponents
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-9)
    first = lyapunov_spectrum(layer, params, xs, count=2, discard=6).exponents
    np.testing.assert_allclose(first, want[:2], rtol=0, atol=1e-9)


def test_steps_that_the_interval_does_not_divide_are_discarded(x64):
    """23 steps of which 5 are discarded, every 4: 16 remain, as with discard=7."""
    layer = LAYERS[0]
    params, xs = layer.init(KEY), jax.random.normal(KEY, (23, 2, 3))
    got = lyapunov_spectrum(layer, params, xs, every=4, discard=5)
    want = lyapunov_spectrum(layer, params, xs, every=4, discard=7)
    np.testing.assert_array_equal(got.exponents, want.exponents)


def test_the_spectrum_of_a_linear_system_is_that_of_its_eigenvalues(x64):
    """A of eigenvalues 1.1, -0.9, 0.6 +- 0.3i and 0.2, in a random basis."""
    blocks = np.diag([1.1, -0.9, 0.6, 0.6, 0.2])
    blocks[2:4, 2:4] += [[0, 0.3], [-0.3, 0]]
    basis = np.random.default_rng(0).normal(size=(5, 5))
    a = basis @ blocks @ np.linalg.inv(basis)
    want = np.log(np.abs([1.1, 0.9, 0.6 + 0.3j, 0.6 + 0.3j, 0.2]))
    # the pair rotates with a period of 6.78 steps, so each of its exponents has a mean over
    # whole turns only
    got = lyapunov_spectrum(Linear(5), jnp.asarray(a), quiet(6000, 1), discard=200)
    np.testing.assert_allclose(got.exponents, want, rtol=0, atol=1e-4)


CHAOS = {
    "Henon": (Henon(2), (1.4, 0.3), 1, 2000, (0.419, -1.623)),
    "Lorenz": (Lorenz(3), (10.0, 28.0, 8 / 3), 0.01, 11000, (0.906, 0.0, -14.57)),
}


@pytest.mark.parametrize("name", CHAOS)
def test_published_exponents_are_met_within_the_error(name, x64):
    """Within three standard errors, and half of the last digit that is published."""
    cell, constants, unit, time, want = CHAOS[name]
    start = 0.01 * jax.random.normal(KEY, (16, cell.size)) + 0.1
    got = lyapunov_spectrum(
        cell, jnp.array(constants), quiet(time, 16), state=start, every=2, discard=1000
    )
    exponents, errors = got.exponents / unit, got.errors / unit
    digit = 0.005 if name == "Lorenz" else 0.0005
    assert (np.abs(exponents - np.array(want)) <= 3 * errors + digit).all(), got
    assert (errors < 0.03).all()


@pytest.mark.parametrize("gain, sign", [(0.8, -1), (1.5, 1)])
def test_a_random_network_becomes_chaotic_at_a_gain_of_one(gain, sign):
    """Sompolinsky, Crisanti, Sommers 1988: u ~ N(0, gain^2 / N), without input.

    The transition is sharp for large N only. At N = 200, the first exponent is below -0.03
    at a gain of 0.8, and above 0.03 at 1.5, by more than ten standard errors.
    """
    n = 200
    cell = jaxrnn.Elman(1, n)
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY))
    params = params._replace(u=gain / n**0.5 * jax.random.normal(KEY, (n, n)))
    start = jax.random.normal(KEY, (2, n))
    got = lyapunov_spectrum(
        cell, params, quiet(500, 2), state=start, count=1, discard=100
    )
    assert sign * got.exponents[0] > max(0.03, 10 * got.errors[0]), got


def test_the_error_is_that_of_independent_blocks():
    """h' = a_t h with random a_t: the mean of log a_t over T steps has a known error."""
    cell = jaxrnn.MinGRU(1, 1)
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY))
    params = params._replace(w=params.w.at[0, 0].set(1.0))  # a = sigmoid(-x)
    xs = jax.random.normal(KEY, (2000, 4, 1))
    got = lyapunov_spectrum(cell, params, xs)
    rates = jax.nn.log_sigmoid(-xs)
    np.testing.assert_allclose(got.exponents[0], rates.mean(), rtol=1e-5)
    np.testing.assert_allclose(got.errors[0], rates.std() / 8000**0.5, rtol=0.25)
    assert np.isnan(lyapunov_spectrum(cell, params, xs[:1, :1]).errors).all()


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"count": 0}, ValueError, "give 1 to 4"),
        ({"count": 5}, ValueError, "give 1 to 4"),
        ({"count": 1.5}, TypeError, "count is 1.5"),
        ({"every": 0}, ValueError, "at least 1 step"),
        ({"discard": -1}, ValueError, "at least 0 steps"),
        ({"discard": 6}, ValueError, "no interval"),
        ({"every": 7}, ValueError, "no interval"),
        ({"discard": True}, TypeError, "give an integer"),
    ],
)
def test_options_that_cannot_work_are_refused(options, error, words):
    cell = jaxrnn.Elman(1, 4)
    with pytest.raises(error, match=words):
        lyapunov_spectrum(cell, cell.init(KEY), quiet(6, 1), **options)


def test_the_gradient_of_flossing_is_exact(x64):
    """By central differences in a random direction."""
    cell = jaxrnn.GRU(2, 4)
    params, xs = cell.init(KEY), jax.random.normal(KEY, (12, 2, 2))
    penalty = lambda params: training.gradient_flossing(cell, params, xs, 2, every=2)
    along = jax.tree.map(lambda p: jax.random.normal(KEY, p.shape, p.dtype), params)
    moved = lambda h: jax.tree.map(lambda p, a: p + h * a, params, along)
    h = 1e-6
    want = (penalty(moved(h)) - penalty(moved(-h))) / (2 * h)
    grads = jax.grad(penalty)(params)
    got = sum(
        jnp.vdot(g, a)
        for g, a in zip(jax.tree.leaves(grads), jax.tree.leaves(along), strict=True)
    )
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_flossing_moves_vanishing_exponents_toward_zero():
    """An Elman with gain 0.4: twenty steps of gradient descent on three exponents."""
    cell = jaxrnn.Elman(1, 12, u_init=jaxrnn.initializers.Orthogonal(0.4))
    params, xs = cell.init(KEY), 0.1 * jax.random.normal(KEY, (30, 2, 1))
    start = lyapunov_spectrum(cell, params, xs, count=3).exponents
    penalty = jax.jit(
        jax.value_and_grad(lambda p: training.gradient_flossing(cell, p, xs, 3))
    )
    np.testing.assert_allclose(penalty(params)[0], np.sum(start**2), rtol=1e-4)
    for _ in range(20):
        _, grads = penalty(params)
        params = jax.tree.map(lambda p, g: p - 0.05 * g, params, grads)
    end = lyapunov_spectrum(cell, params, xs, count=3).exponents
    assert (start < -0.7).all() and (np.abs(end) < 0.2).all(), (start, end)
