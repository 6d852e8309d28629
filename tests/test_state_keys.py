"""Typed keys in the state of a cell: its noise continues when it streams."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import LearnedState, Stack

from .helpers import each


@dataclass(frozen=True)
class Noisy(jaxrnn.Cell):
    """h' = tanh(w (x + noise) + h / 2), with noise drawn from a key in the state."""

    input_size: int = 3
    typed: bool = True

    def init(self, key):
        return jax.random.normal(key, (self.input_size,))

    def initial_state(self, params):
        make = jax.random.key if self.typed else jax.random.PRNGKey
        return jnp.zeros_like(params), make(3)

    def recur(self, params, state, z):
        h, key = state
        key, own = jax.random.split(key)
        h = jnp.tanh(params * (z + jax.random.normal(own, h.shape, h.dtype)) + h / 2)
        return h, key

    def readout(self, params, state, z):
        return state[0]


LAYERS = [Noisy(), Noisy(typed=False), Stack((Noisy(), Noisy()))]
STRATEGIES = [
    jaxrnn.Scan(),
    jaxrnn.Hoisted(block=2),
    jaxrnn.Checkpointed(every=2),
    jaxrnn.Wavefront(),
    jaxrnn.Auto(),
]
LENGTHS, RESETS = np.array([5, 2]), np.eye(5, 2, dtype=bool)
XS = jnp.linspace(-1.0, 1.0, 30).reshape(5, 2, 3)


@functools.cache
def reference(layer, marked):
    """Outputs and final state of each sequence, and the gradient of the loss."""
    params = layer.init(jax.random.key(0))
    lengths, resets = (LENGTHS, RESETS) if marked else (np.full(2, 5), 0 * RESETS)

    def loss(params):
        rows = stepped(layer, params, lengths, resets)
        return sum(jnp.sum(y**2) for _, y in rows), rows

    grads, rows = jax.jit(jax.grad(loss, has_aux=True))(params)
    return rows, grads


def stepped(layer, params, lengths, resets):
    """One step at a time, in plain Python."""
    first = layer.initial_state(params)
    rows = []
    for b in range(2):
        state, ys = first, []
        for t in range(5):
            if t >= lengths[b]:
                ys.append(jnp.zeros(3))
                continue
            state = first if resets[t, b] else state
            state, y = layer.step(params, state, XS[t, b])
            ys.append(y)
        rows.append((state, jnp.stack(ys)))
    return rows


def numbers(tree):
    """The leaves, with typed keys as their data."""
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    data = lambda x: jax.random.key_data(x) if is_key(x) else x
    return list(map(data, jax.tree.leaves(tree)))


@each("marked", [False, True])
@each("strategy", STRATEGIES)
@each("layer", LAYERS, LAYERS[:1])
def test_a_key_in_the_state_goes_on_from_step_to_step(layer, strategy, marked):
    params = layer.init(jax.random.key(0))
    marks = dict(lengths=LENGTHS, resets=jnp.asarray(RESETS)) if marked else {}

    def loss(params, xs):
        state, ys = jaxrnn.unroll(layer, params, xs, strategy=strategy, **marks)
        return jnp.sum(ys**2), (state, ys)

    both = jax.jit(jax.grad(loss, has_aux=True))
    grads, (state, ys) = both(params, XS)
    rows, right = reference(layer, marked)
    for b, (want, y) in enumerate(rows):
        np.testing.assert_allclose(ys[:, b], y, atol=1e-6)
        for a, w in zip(numbers(state), numbers(want), strict=True):
            np.testing.assert_allclose(a[b], w, atol=1e-6)
    for a, w in zip(numbers(grads), numbers(right), strict=True):
        np.testing.assert_allclose(a, w, atol=1e-5)


@each("strategy", STRATEGIES[:2])
def test_streaming_goes_on_with_the_key(strategy):
    cell = Noisy()
    params = cell.init(jax.random.key(0))
    run = lambda xs, state: jaxrnn.unroll(cell, params, xs, state, strategy=strategy)
    state, first = run(XS[:2], None)
    _, second = run(XS[2:], state)
    np.testing.assert_allclose(
        jnp.concatenate([first, second]), run(XS, None)[1], atol=1e-6
    )


def test_newton_refuses_keys_in_words():
    cell = Noisy()
    with pytest.raises(NotImplementedError, match=r"real floats.*key<fry>"):
        jaxrnn.unroll(cell, jnp.ones(3), XS, strategy=jaxrnn.Newton())


def test_a_key_is_not_learned():
    cell = LearnedState(Noisy())
    params = cell.init(jax.random.key(0))
    with pytest.raises(TypeError, match=r"key<fry>.*floating-point"):
        jaxrnn.unroll(cell, params, XS)


@each("strategy", STRATEGIES[:2])
def test_keys_as_inputs_and_outputs(strategy):
    """Past the end of a sequence, an output that is a key is zero, like other outputs."""

    @dataclass(frozen=True)
    class Passing(jaxrnn.Cell):
        def init(self, key):
            return ()

        def initial_state(self, params):
            return jax.random.key(7)

        def recur(self, params, state, z):
            return z

    keys = jax.random.split(jax.random.key(1), (5, 2))
    state, ys = jaxrnn.unroll(Passing(), (), keys, lengths=LENGTHS, strategy=strategy)
    data = np.asarray(jax.random.key_data(keys)).copy()
    np.testing.assert_array_equal(jax.random.key_data(state), data[[4, 1], [0, 1]])
    data[2:, 1] = 0
    np.testing.assert_array_equal(jax.random.key_data(ys), data)
