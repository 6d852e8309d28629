"""Inputs from practice: narrow integers, NumPy, keys of every kind, pickles, float16."""

import copy
import pickle
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn import training

from .helpers import LAYERS, STRATEGIES, each, example


KEY = jax.random.key(0)
LOW = [jnp.float16, jnp.bfloat16]


def assert_same(got, want, tolerance=1e-6):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@each("size", [(np.uint8, 256), (np.int8, 300), (np.uint16, 65536), (np.uint32, 70000)])
def test_narrow_symbols_are_looked_up(size):
    dtype, vocabulary = size
    layer = jaxrnn.Embedding(vocabulary, 3)
    params = layer.init(KEY)
    ids = np.asarray([[0], [65], [np.iinfo(dtype).max]]).astype(dtype)
    _, ys = jaxrnn.unroll(layer, params, ids)
    inside = ids[..., None].astype(np.int64) < vocabulary
    table = np.asarray(params.table)
    want = np.where(
        inside, table[np.minimum(ids.astype(np.int64), vocabulary - 1)], np.nan
    )
    np.testing.assert_array_equal(ys, want)
    assert_same(layer.step(params, (), ids[1, 0])[1], table[65])


def test_symbols_below_zero_and_booleans_are_no_symbols():
    layer = jaxrnn.Embedding(256, 3)
    params = layer.init(KEY)
    assert np.isnan(layer.step(params, (), np.int8(-1))[1]).all()
    with pytest.raises(TypeError, match="looks up integers"):
        jaxrnn.unroll(layer, params, np.ones((2, 1), bool))


@each("dtype", [np.uint8, np.int8, np.int32])
def test_labels_of_every_width(dtype):
    logits = jax.random.normal(KEY, (4, 2, 300))
    labels = np.asarray([[0, 9], [100, 127], [3, 4], [5, 6]])
    got = training.cross_entropy(logits, labels.astype(dtype))
    logs = jax.nn.log_softmax(logits)
    want = -np.mean(np.take_along_axis(np.asarray(logs), labels[..., None], -1))
    np.testing.assert_allclose(got, want, rtol=1e-6)


NUMBERS = [
    jaxrnn.MGU(3, 5),
    jaxrnn.LRU(3, 5),
    jaxrnn.CTRNN(3, 5),
    jaxrnn.Dense(3, 5),
    jaxrnn.Stack((jaxrnn.Dropout(0.3), jaxrnn.SLSTM(3, 4))),
]


@each("layer", NUMBERS)
@each("dtype", [bool, np.uint8, np.int32])
def test_integers_mean_the_same_numbers(layer, dtype):
    params = layer.init(KEY)
    xs = (np.arange(18).reshape(3, 2, 3) % 3 == 0).astype(dtype)
    with jax.numpy_dtype_promotion("standard"):
        for options in ({}, {"strategy": jaxrnn.Scan(), "key": jax.random.key(1)}):
            got = jaxrnn.unroll(layer, params, xs, **options)
            want = jaxrnn.unroll(layer, params, xs.astype(np.float32), **options)
            assert_same(got, want)


@each("layer", LAYERS)
def test_a_step_takes_numpy_arrays(layer):
    if isinstance(layer, jaxrnn.Bidirectional) or "Bidirectional" in str(layer):
        return  # it has no step
    params = layer.init(KEY)
    state, x = layer.initial_state(params), example(layer)
    x = jnp.linspace(-1.0, 1.0, 3) if x is None else x
    want = layer.step(params, state, x)
    given = jax.tree.map(np.asarray, (params, state, x))
    assert_same(layer.step(*given), want)
    assert_same(layer.step(params, state, given[2]), want)


@each("cell", [jaxrnn.CTRNN(3, 4), jaxrnn.CTRNN(2, 4), jaxrnn.CfC(2, 3, 4)])
def test_elapsed_time_in_numpy(cell):
    params = cell.init(KEY)
    state, x = cell.initial_state(params), np.ones(cell.input_size, np.float32)
    want = cell.step(params, state, (jnp.asarray(x), jnp.asarray(1.0)))
    assert_same(cell.step(params, state, x), want)
    assert_same(cell.step(params, state, (x, np.float32(1))), want)


KEYS = ["threefry2x32", "rbg", "unsafe_rbg"]


@each("impl", KEYS)
def test_keys_of_every_kind(impl):
    key, xs = jax.random.key(7, impl=impl), jnp.ones((4, 2, 3))
    run = lambda key: jaxrnn.unroll(jaxrnn.Dropout(0.5), (), xs, key=key)[1]
    assert set(np.unique(run(key))) == {0.0, 2.0}
    cell = jaxrnn.MGU(3, 4)
    params = cell.init(key)
    assert jaxrnn.drop_connect(params, 0.5, key).u.shape == params.u.shape
    if impl == "unsafe_rbg":
        return  # its data alone would be read as an rbg key
    words = jax.random.key_data(key)
    np.testing.assert_array_equal(run(words), run(key))
    np.testing.assert_array_equal(run(np.asarray(words)), run(key))


@each(
    "key", [np.zeros(3, np.uint32), np.zeros((2, 2), np.uint32), np.zeros(2, np.int32)]
)
def test_what_is_no_key_is_refused(key):
    with pytest.raises(TypeError, match="give one key"):
        jaxrnn.unroll(jaxrnn.Dropout(0.5), (), jnp.ones((4, 2, 3)), key=key)


@each("dtype", LOW)
def test_losses_of_narrow_floats_are_taken_in_float32(dtype):
    ones, mask = jnp.ones((1000, 100), dtype), jnp.ones((1000, 100), bool)
    assert_same(training.masked_mean(ones, mask), jnp.float32(1))
    assert_same(training.masked_mean(ones.astype(bool)), jnp.float32(1))
    logits = 3 * jax.random.normal(KEY, (700, 100, 2)).astype(dtype)
    labels = jnp.broadcast_to(jnp.arange(100) % 2, (700, 100))
    targets = jnp.ones((700, 100, 2), dtype)
    exact, mask = logits.astype(jnp.float32), mask[:700]
    rows = [
        (training.cross_entropy, labels, labels),
        (training.squared_error, targets, targets.astype(jnp.float32)),
        (training.bernoulli, targets, targets.astype(jnp.float32)),
    ]
    for loss, narrow, wide in rows:
        assert_same(loss(logits, narrow, mask), loss(exact, wide, mask))
    assert jax.grad(training.cross_entropy)(logits, labels, mask).dtype == dtype


def copies(value):
    return pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)


NESTED = jaxrnn.Stack(
    (
        jaxrnn.Bidirectional(
            jaxrnn.LearnedState(jaxrnn.Elman(3, 4)),
            jaxrnn.Elman(3, 4, activation=jax.nn.gelu),
            merge=jnp.add,
        ),
        jaxrnn.LearnedState(jaxrnn.LRU(4, 4)),
        jaxrnn.Zoneout(jaxrnn.Elman(4, 4, activation=jax.lax.tanh), 0.1),
    )
)
OBJECTS = [*LAYERS, NESTED, *STRATEGIES, jaxrnn.Auto(), jaxrnn.Fused(), jaxrnn.Newton()]


@each("value", OBJECTS)
def test_copies_are_equal(value):
    for again in copies(value):
        assert again == value and hash(again) == hash(value)
        assert type(again) is type(value) and str(again) == str(value)


def test_a_strategy_with_a_mesh_is_copied_and_not_pickled():
    """Devices belong to one process, so pickling raises an error."""
    mesh = jax.make_mesh((1,), ("time",), axis_types=(jax.sharding.AxisType.Auto,))
    strategy = jaxrnn.SequenceParallel(mesh, "time")
    for again in (copy.copy(strategy), copy.deepcopy(strategy)):
        assert again == strategy and hash(again) == hash(strategy)
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(strategy)


def test_a_function_without_a_name_is_refused_by_pickle():
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(jaxrnn.Elman(3, 4, activation=lambda x: x))


@dataclass(frozen=True)
class Twice(jaxrnn.Cell):
    """A cell whose initial state is one array in two places."""

    input_size: int

    def init(self, key):
        return jax.random.normal(key, (self.input_size,))

    def initial_state(self, params):
        start = jnp.ones(self.input_size)
        return start, start

    def recur(self, params, state, z):
        return state[1] * params + z, state[0]


def test_a_state_of_one_array_twice_can_be_donated():
    cell, xs = Twice(3), jnp.ones((5, 1, 3))
    jaxrnn.testing.check_protocol(cell)
    params = cell.init(KEY)
    run = jax.jit(lambda p, xs, s: jaxrnn.unroll(cell, p, xs, s), donate_argnums=2)
    state, _ = jaxrnn.unroll(cell, params, xs[:2])
    assert_same(run(params, xs[2:], state)[0], jaxrnn.unroll(cell, params, xs)[0])
    learned = jaxrnn.LearnedState(cell)
    both = learned.init(KEY)
    update = jax.jit(lambda p: jax.tree.map(lambda a: 2 * a, p), donate_argnums=0)
    assert_same(update(both).initial, (jnp.full(3, 2.0),) * 2)
