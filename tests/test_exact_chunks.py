"""Chunks in float32 are within 1e-5 of float64, for decays of any strength.

The bound holds for values and every gradient, each relative to its own largest entry.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.ops._linear_attention._guarded import by_steps


STRONG = [0, -60, -1e3, -1e4, -1e6, -1e8, -np.inf]
PLACES = [[1], [*range(1, 60, 4), 62, 65], slice(None)]
KINDS = ["attention", "attention by channel", "delta"]


def draw(kind, time, log_decays, key_size=1.0):
    """Random float32 arguments, one state for each column of `log_decays`, `(T, states)`."""
    rng = np.random.default_rng(0)
    one = (time, log_decays.shape[1], 5)
    q, k, v = rng.normal(size=(3, *one)) * key_size
    if kind == "attention by channel":
        mild = -rng.uniform(0, 0.2, one)
        log_decays = np.where(np.arange(5) % 2 == 0, log_decays[..., None], mild)
    arrays = [q, k, v, log_decays]
    if kind == "delta":
        arrays[1] = k / np.linalg.norm(k, axis=-1, keepdims=True)
        arrays.insert(3, rng.uniform(0, 2, log_decays.shape))
    given = (*arrays, rng.normal(size=(one[1], 5, 5)))
    cotangents = rng.normal(size=(one[1], 5, 5)), rng.normal(size=one)
    return jax.tree.map(np.float32, (given, cotangents))


def planted(time):
    """Mild decays, with one strong decay at one position: each strength at each position."""
    mild = np.random.default_rng(1).uniform(-0.2, 0, (time, 1))
    columns = []
    for strong in STRONG:
        for place in PLACES:
            column = mild.copy()
            column[place] = strong
            columns.append(column)
    return np.concatenate(columns, axis=1)


def chunks(arrays, state, resets):
    run = (
        jaxrnn.ops.chunked_delta
        if len(arrays) == 5
        else jaxrnn.ops.chunked_linear_attention
    )
    return run(*arrays, state, resets=resets)


def steps(arrays, state, resets):
    wide = [a if a.ndim == 3 else a[..., None] for a in arrays]
    return by_steps((tuple(wide), state, None), resets)


def results(run, given, cotangents, resets):
    """The final state, the outputs, and the gradients of every argument."""

    @jax.jit
    def both(given, cotangents):
        call = lambda *given: run(given[:-1], given[-1], resets)
        found, pull = jax.vjp(call, *given)
        return *found, *pull(cotangents)

    return jax.tree.map(np.asarray, both(given, cotangents))


def compare(kind, given, cotangents, resets):
    got = results(chunks, given, cotangents, resets)
    with jax.enable_x64(True):
        wide = jax.tree.map(np.float64, (given, cotangents))
        want = results(steps, *wide, resets)
    names = "final outputs q k v beta log_decay initial".split()
    names = names if kind == "delta" else [n for n in names if n != "beta"]
    for name, g, w in zip(names, got, want, strict=True):
        assert g.dtype == np.float32 and np.isfinite(g).all(), name
        axis = 0 if name in ("final", "initial") else 1
        for state, (x, y) in enumerate(
            zip(np.moveaxis(g, axis, 0), np.moveaxis(w, axis, 0), strict=True)
        ):
            error = np.abs(x - y).max()
            assert error <= 1e-5 * np.abs(y).max(), (name, state, error)


@pytest.mark.parametrize("kind", KINDS)
def test_strong_decays(kind):
    """Two chunks and a part of a third."""
    compare(kind, *draw(kind, 150, planted(150)), None)


@pytest.mark.parametrize("kind", KINDS)
def test_strong_decays_between_resets(kind):
    time = 70
    decays = planted(time)
    resets = np.zeros((time, decays.shape[1]), bool)
    resets[[0, 29, 31, 64]] = True
    compare(kind, *draw(kind, time, decays, 100.0), jnp.asarray(resets))


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_long_sequences(kind):
    """16384 steps, decays of all strengths in any order."""
    rng = np.random.default_rng(2)
    decays = -(10.0 ** rng.uniform(-4, 6, (16384, 2)))
    decays[:, 1] = np.where(rng.uniform(size=16384) < 0.99, -1e-3, decays[:, 1])
    compare(kind, *draw(kind, 16384, decays), None)


def test_the_examples():
    q, g = jnp.ones((4, 1)), jnp.array([0.0, -1e9, -0.7, -0.7])
    want = [1, 1, 1 + np.exp(-0.7), 1 + np.exp(-0.7) + np.exp(-1.4)]
    for decays in (g, g.at[1].set(-jnp.inf)):
        found = jaxrnn.ops.chunked_linear_attention(q, q, q, decays)[1][:, 0]
        np.testing.assert_allclose(found, want, rtol=1e-6)
