"""Linear and matrix cells start as in their papers, measured by the effect of one step."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from jaxrnn.ops import log_diag_scan

from .helpers import each


KEY = jax.random.key(0)


def numpy(params):
    """Parameters as float64 arrays."""
    return jax.tree.map(lambda p: np.asarray(p, np.float64), params)


def softplus(x):
    return np.log1p(np.exp(x))


def test_lru_starts_uniform_on_a_ring():
    """|lambda|^2 is uniform between the squared radii; gamma compensates for |lambda|."""
    p = numpy(jaxrnn.LRU(4, 4000, r_min=0.5, r_max=0.99, max_phase=0.3).init(KEY))
    size, phase = np.exp(-np.exp(p.nu)), np.exp(p.theta)
    assert 0.5 <= size.min() < 0.51 and 0.985 < size.max() <= 0.99 + 1e-6
    np.testing.assert_allclose(np.mean(size**2), (0.25 + 0.99**2) / 2, rtol=0.02)
    assert 0 < phase.min() < 0.001 and 0.299 < phase.max() <= 0.3 + 1e-6
    np.testing.assert_allclose(np.exp(p.gamma), np.sqrt(1 - size**2), rtol=1e-3)
    np.testing.assert_allclose(p.b_re.std(), 1 / np.sqrt(2 * 4), rtol=0.05)
    np.testing.assert_allclose(p.c_re.std(), 1 / np.sqrt(4000), rtol=0.05)


@each("blocks", [1, 2])
def test_s5_starts_at_the_normal_part_of_hippo(blocks):
    """HiPPO-LegS + p p^T is normal; one of each pair of conjugate eigenvalues is kept."""
    half = 8
    cell = jaxrnn.S5(3, half, blocks=blocks)
    p = numpy(cell.init(KEY))
    size = 2 * half // blocks
    n = np.arange(size)
    root = np.sqrt(2 * n + 1)
    hippo = -np.tril(np.outer(root, root), -1) - np.diag(n + 1)
    rank_one = np.sqrt(n + 0.5)
    eigenvalues = np.linalg.eigvals(hippo + np.outer(rank_one, rank_one))
    turns = np.sort(eigenvalues.imag[eigenvalues.imag > 0])
    np.testing.assert_allclose(p.lambda_re, -0.5, rtol=1e-4)
    for block in np.split(p.lambda_im, blocks):
        assert np.all(block < 0)  # one of each conjugate pair
        np.testing.assert_allclose(np.sort(-block), turns, rtol=1e-4)
    step = np.exp(numpy(jaxrnn.S5(3, 4000, blocks=500).init(KEY)).log_step)
    assert 1e-3 <= step.min() * (1 + 1e-5) and step.max() <= 0.1 * (1 + 1e-5)
    np.testing.assert_allclose(np.median(step), 1e-2, rtol=0.15)  # log-uniform


def test_rings_of_radius_one_are_stable():
    """|lambda| < 1 and every number is finite, for a ring from 0 to 1."""
    p = numpy(jaxrnn.LRU(2, 100_000).init(KEY))
    size = np.exp(-np.exp(p.nu))
    assert all(np.isfinite(leaf).all() for leaf in p)
    assert 0 < size.min() < 0.02 and 0.9999 < size.max() < 1
    np.testing.assert_allclose(np.mean(size**2), 0.5, rtol=0.01)
    np.testing.assert_allclose(np.exp(p.gamma) ** 2, 1 - size**2, rtol=1e-4)


@each("cell", [jaxrnn.LRU(2, 3), jaxrnn.RGLRU(2, r_min=0.0, r_max=1.0)])
@each("end", [0, 1])
def test_the_ends_of_a_ring_are_finite(cell, end, monkeypatch):
    """At the smallest and at the largest number that can be drawn."""

    def extreme(key, shape, dtype, minval=0.0, maxval=1.0):
        return jnp.full(shape, (minval, maxval)[end], dtype)

    monkeypatch.setattr(jax.random, "uniform", extreme)
    params = cell.init(KEY)
    assert all(np.isfinite(leaf).all() for leaf in params)
    if isinstance(cell, jaxrnn.LRU):
        assert float(jnp.exp(-jnp.exp(params.nu)).max()) < 1


def test_s5_reads_out_with_unit_variance():
    """B and C are real and complex, of variance 1/2P a part, before they change basis."""
    p = numpy(jaxrnn.S5(200, 16).init(KEY))
    for c in (p.c_re, p.c_im):
        np.testing.assert_allclose(c.std(), 1 / np.sqrt(32), rtol=0.05)
    np.testing.assert_allclose(np.mean(p.b_re**2 + p.b_im**2), 1 / 32, rtol=0.05)


def test_rg_lru_starts_on_a_ring():
    """The radius r is spread by area over the ring, and an open gate decays by r^8."""
    p = numpy(jaxrnn.RGLRU(4000, heads=50).init(KEY))
    radius = np.exp(-softplus(p.decay))
    assert 0.9 - 1e-5 <= radius.min() < 0.901 and 0.998 < radius.max() <= 0.999 + 1e-5
    square = (0.9**2 + 0.999**2) / 2
    np.testing.assert_allclose(np.mean(radius**2), square, rtol=0.002)
    quantiles = np.quantile(radius**8, [0.01, 0.99])  # of the authors' code
    np.testing.assert_allclose(quantiles, [0.43, 0.98], atol=0.01)
    r_min, r_max = 0.9 ** (1 / 8), 0.999 ** (1 / 8)  # the range that the paper names
    p = numpy(jaxrnn.RGLRU(4000, heads=50, r_min=r_min, r_max=r_max).init(KEY))
    decay = np.exp(-8 * softplus(p.decay))
    assert 0.9 - 1e-5 <= decay.min() < 0.901 and 0.998 < decay.max() <= 0.999 + 1e-5
    np.testing.assert_allclose(decay.mean(), (0.9 + 0.999) / 2, rtol=0.002)


@each("make", [jaxrnn.SSD, jaxrnn.GatedDeltaNet])
def test_mamba_rates_and_steps(make):
    """A is uniform to 16, from 1 or from 0; the step log-uniform from 0.001 to 0.1."""
    p = numpy(make(2, 2000, heads=2000).init(KEY))
    low = 1 if make is jaxrnn.SSD else 0
    rate, step = np.exp(p.log_a), softplus(p.b_dt if make is jaxrnn.SSD else p.b_a)
    assert low <= rate.min() * (1 + 1e-5) < low + 0.1
    assert 15.9 < rate.max() <= 16 * (1 + 1e-5)
    np.testing.assert_allclose(rate.mean(), (low + 16) / 2, rtol=0.05)
    assert 1e-3 <= step.min() * (1 + 1e-4) and step.max() <= 0.1 * (1 + 1e-4)
    np.testing.assert_allclose(np.median(step), 1e-2, rtol=0.2)


def test_mlstm_forgets_by_its_biases_alone_at_first():
    p = numpy(jaxrnn.MLSTM(3, 2000, heads=1000).init(KEY))
    np.testing.assert_allclose(p.b_f, np.linspace(3, 6, 1000), rtol=1e-6)
    np.testing.assert_array_equal(p.w_f, 0)
    np.testing.assert_array_equal(p.w_i, 0)
    np.testing.assert_allclose(p.b_i.std(), 0.1, rtol=0.1)


def test_gla_starts_near_one():
    """The decay is sigmoid(0)^(1/16) for a zero input."""
    cell = jaxrnn.GLA(3, 4)
    z = cell.project(cell.init(KEY), jnp.zeros(3))
    np.testing.assert_allclose(np.exp(z.log_decay), 0.5 ** (1 / 16), rtol=1e-6)


@each("make", [jaxrnn.MinGRU, jaxrnn.MinLSTM])
def test_positive_states_equal_the_scan_of_logarithms(make):
    """For positive states, Heinsen's scan of logarithms gives the same states."""
    cell = make(3, 4, activation=jnp.exp)
    params = cell.init(KEY)
    xs = jax.random.normal(jax.random.key(1), (200, 2, 3))
    per_row = lambda fn: jax.vmap(jax.vmap(fn, (None, 0)), (None, 0))
    a, b = per_row(lambda p, x: cell.coefficients(p, cell.project(p, x)))(params, xs)
    _, log_states = log_diag_scan(jnp.log(a), jnp.log(b))
    _, ys = jaxrnn.unroll(cell, params, xs, strategy=jaxrnn.Scan())
    np.testing.assert_allclose(np.exp(log_states), ys, rtol=2e-5)
