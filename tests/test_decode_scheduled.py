"""Scheduled sampling, against unroll and against symbols that leave no choice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxrnn
from jaxrnn import decode

from .decoding import KEY, MODEL, PARAMS, STATE, Markov, same


XS = jax.random.randint(KEY, (7, 5), 0, 5)
LENGTHS = jnp.array([7, 0, 1, 4, 6])


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_with_probability_0_it_is_unroll(lengths):
    def scheduled(params, state):
        return decode.scheduled_sampling(
            MODEL, params, state, XS, KEY, probability=0.0, lengths=lengths
        )

    def unrolled(params, state):
        return jaxrnn.unroll(MODEL, params, XS, state, lengths=lengths)

    def loss(run):
        def scalar(params, state):
            after, logits = run(params, state)
            sums = jax.tree.map(lambda s: jnp.sum(s**3), after)
            return jnp.sum(jnp.sin(logits)) + sum(jax.tree.leaves(sums))

        return jax.grad(scalar, argnums=(0, 1))(PARAMS, STATE)

    same(scheduled(PARAMS, STATE), unrolled(PARAMS, STATE))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        loss(scheduled),
        loss(unrolled),
    )


def test_with_probability_1_it_reads_its_own_samples():
    """With logits that leave no choice, these are the symbols of `greedy`."""
    sharp = (*PARAMS[:-1], jax.tree.map(lambda p: 1e4 * p, PARAMS[-1]))
    own = decode.greedy(MODEL, sharp, STATE, XS[0], steps=6).symbols
    read = jnp.concatenate([XS[:1], own])
    assert (read[1:] != XS[1:]).any()

    def scheduled(params):
        return decode.scheduled_sampling(MODEL, params, STATE, XS, KEY, probability=1)

    (state, logits), want = scheduled(sharp), jaxrnn.unroll(MODEL, sharp, read, STATE)
    same((state, logits / 1e4), (want[0], want[1] / 1e4))
    # no gradient passes through a sample: it is the gradient for fixed inputs
    gradient = jax.grad(lambda p: jnp.sum(jnp.tanh(scheduled(p)[1] / 1e4)))(sharp)
    fixed = lambda p: jnp.tanh(jaxrnn.unroll(MODEL, p, read, STATE)[1] / 1e4)
    same(gradient, jax.grad(lambda p: jnp.sum(fixed(p)))(sharp))


def test_the_share_of_own_samples_is_the_probability():
    """A binomial test over 40,000 steps; a right mixture fails once in 10^6 keys.

    Symbol x is followed by x + 1 with certainty, and all given symbols are 0: the logits
    show what was read.
    """
    table = 1e4 * jnp.roll(jnp.eye(50), 1, axis=1)
    xs = jnp.zeros((41, 1000), int)
    _, logits = decode.scheduled_sampling(
        Markov(50), table, None, xs, KEY, probability=0.3
    )
    read = np.asarray(jnp.argmax(logits, axis=-1)) - 1
    assert (read[0] == 0).all()
    assert ((read[1:] == 0) | (read[1:] == read[:-1] + 1)).all()
    own = int((read[1:] > 0).sum())
    assert stats.binomtest(own, 40_000, 0.3).pvalue > 1e-6


def test_padding_may_hold_any_integer():
    inside = jnp.arange(7)[:, None] < LENGTHS[None]
    wrong = jnp.where(inside, XS, 10**6)

    def loss(params, xs):
        state, logits = decode.scheduled_sampling(
            MODEL, params, STATE, xs, KEY, probability=0.5, lengths=LENGTHS
        )
        return jnp.sum(jnp.sin(logits)), (state, logits)

    gradient = jax.grad(loss, has_aux=True)
    clean, dirty = gradient(PARAMS, jnp.where(inside, XS, 0)), gradient(PARAMS, wrong)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(clean))
    jax.tree.map(np.testing.assert_array_equal, clean, dirty)
    assert (dirty[1][1][~inside] == 0).all()
