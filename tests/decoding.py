"""The model that the tests of decoding share."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn


KEY = jax.random.key(0)


def make(vocabulary: int, seed: int):
    """A small model whose distributions are far from uniform, its params and a state."""
    layers = (jaxrnn.Embedding(vocabulary, 4), jaxrnn.LSTM(4, 6))
    model = jaxrnn.Stack((*layers, jaxrnn.Dense(6, vocabulary)))
    params = model.init(jax.random.key(seed))
    dense = jax.tree.map(lambda p: 6 * p, params[-1])
    params = (*params[:-1], dense)
    prompt = jnp.array([[0, 1, 2, 2, 0], [1, 2, 0, 1, 1]])
    state, _ = jaxrnn.unroll(model, params, prompt)
    return model, params, state


MODEL, PARAMS, STATE = make(5, seed=4)
STOP = 2
START = jnp.array([0, 1, 2, 3, 4])


@dataclass(frozen=True)
class Markov(jaxrnn.Stepwise):
    """Logits that depend on the last symbol only: its row of a table."""

    vocabulary: int

    def init(self, key):
        return jax.random.normal(key, (self.vocabulary, self.vocabulary))

    def apply(self, params, x):
        return params[x]


def row(tree, b: int):
    return jax.tree.map(lambda leaf: leaf[b], tree)


def log_softmax(logits) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def same(one, two) -> None:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, two
    )
