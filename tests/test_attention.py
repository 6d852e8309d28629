"""Attention over a fixed memory: its equations in NumPy, and the laws inside a decoder."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxrnn
from jaxrnn import (
    LSTM,
    AdditiveAttention,
    Bidirectional,
    Dense,
    DotProductAttention,
    Embedding,
    Residual,
    SkipStack,
    Stack,
    testing,
    unroll,
)
from jaxrnn.layers import Directions
from jaxrnn.testing._by_steps import by_steps
from jaxrnn.testing._case import Case, make_options, unrolled

from .helpers import each


TIME, BATCH, SOURCE = 5, 3, 4
LENGTHS = np.array([4, 0, 2])
LAYERS = [AdditiveAttention(3, 6, 5), DotProductAttention(3, 6, 5)]


def second(x, c):
    """A merge that returns the context alone."""
    return c


def made(layer, seed=0):
    """Params, inputs and values of the memory, in JAX's default float dtype."""
    rng = np.random.default_rng(seed)
    params = layer.init(jax.random.key(seed))
    sizes = (TIME, BATCH, layer.query_size), (SOURCE, BATCH, layer.memory_size)
    xs, values = (
        jnp.asarray(rng.standard_normal(size)).astype(jnp.zeros(()).dtype)
        for size in sizes
    )
    return params, xs, values


def additive_score(p, m, x):
    """Bahdanau et al. 2014, A.1.2, without biases."""
    return p.v @ np.tanh(x @ p.w_q + m @ p.w_k)


def dot_product_score(p, m, x):
    """Luong et al. 2015, "general", with two factors, scaled as by Vaswani et al. 2017."""
    return (x @ p.w_q) @ (m @ p.w_k) / np.sqrt(p.w_q.shape[1])


SCORES = {AdditiveAttention: additive_score, DotProductAttention: dot_product_score}


def oracle(layer, params, xs, values, lengths):
    """Weights `(T, B, S)` and contexts `(T, B, m)`, in loops of Python."""
    score = SCORES[type(layer)]
    params = jax.tree.map(np.asarray, params)
    xs, values = np.asarray(xs), np.asarray(values)
    weights = np.zeros((*xs.shape[:2], len(values)))
    contexts = np.zeros((*xs.shape[:2], values.shape[2]))
    for t, b in np.ndindex(*xs.shape[:2]):
        if valid := range(lengths[b]):
            e = np.exp([score(params, values[s, b], xs[t, b]) for s in valid])
            weights[t, b, valid] = e / e.sum()
            contexts[t, b] = sum(weights[t, b, s] * values[s, b] for s in valid)
    return weights, contexts


@each("layer", LAYERS)
@each("lengths", [LENGTHS, None])
def test_the_equations_in_numpy(layer, lengths, x64):
    params, xs, values = made(layer)
    memory = layer.memory(params, values, lengths)
    whole = np.full(BATCH, SOURCE)
    weights, contexts = oracle(
        layer, params, xs, values, whole if lengths is None else lengths
    )
    after, ys = unroll(layer, params, xs, memory)
    np.testing.assert_allclose(layer.weights(params, memory, xs), weights, atol=1e-12)
    np.testing.assert_allclose(ys, np.concatenate([xs, contexts], -1), atol=1e-12)
    jax.tree.map(np.testing.assert_array_equal, after, memory)


@each("layer", LAYERS)
def test_derivatives_of_both_modes(layer, x64):
    def run(params, xs, values):
        memory = layer.memory(params, values, LENGTHS)
        return unroll(layer, params, xs, memory)[1]

    check_grads(run, made(layer), order=2, modes=["fwd", "rev"])


@each("layer", LAYERS)
def test_padding_of_the_memory_reaches_nothing(layer):
    params, xs, values = made(layer)
    padding = (np.arange(SOURCE)[:, None] >= LENGTHS)[..., None]

    def loss(params, xs, values):
        memory = layer.memory(params, values, LENGTHS)
        ys = unroll(layer, params, xs, memory)[1]
        return jnp.sum(ys**2), (memory, ys)

    run = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    want = run(params, xs, jnp.where(padding, 0, values))
    got = run(params, xs, jnp.where(padding, jnp.nan, values))
    testing.assert_close("padding", str(layer), got, want, 0.0)
    np.testing.assert_array_equal(got[0][1][1][:, 1, 3:], 0)  # its memory has length 0


def decoder(attention):
    """The layers above and below have the sizes of `attention`, with queries of 4."""
    out = attention.query_size + attention.memory_size
    return Stack((Embedding(7, 3), LSTM(3, 4), attention, LSTM(out, 4), Dense(4, 2)))


DECODERS = [decoder(AdditiveAttention(4, 6, 5)), decoder(DotProductAttention(4, 6, 5))]


def random_state(layer, batch, seed=0):
    rng = np.random.default_rng(seed)
    one = layer.initial_state(layer.init(jax.random.key(0)))
    noise = lambda s: jnp.asarray(rng.standard_normal((batch, *s.shape)), s.dtype)
    return jax.tree.map(noise, one)


@functools.cache
def decoder_case(layer):
    """A case in float64; its memory has lengths from 0 to S."""
    params = layer.init(jax.random.key(0))
    attention = layer.layers[2]
    values = np.random.default_rng(0).standard_normal((SOURCE, 4, 6))
    memory = attention.memory(params[2], values, np.array([4, 0, 2, 3]))
    state = tuple(
        memory if inner is attention else random_state(inner, 4, i)
        for i, inner in enumerate(layer.layers)
    )
    xs = jnp.asarray(np.random.default_rng(1).integers(0, 7, (6, 4)))
    return Case(layer, params, xs, state, seed=0)


OPTIONS = [("lengths", "resets"), ("lengths", "mask", "resets", "reverse")]


@functools.cache
def by_scan(layer, names):
    case = decoder_case(layer)
    given = make_options(case, names)
    return unrolled(case, options=given, strategy=jaxrnn.Scan())


@each("layer", DECODERS, DECODERS[:1])
@each("names", OPTIONS)
def test_steps_equal_unroll_in_a_decoder(layer, names, x64):
    case = decoder_case(layer)
    want = by_steps(case, options=make_options(case, names))
    testing.assert_close("unroll", str(names), by_scan(layer, names), want, 1e-9)


@each("layer", DECODERS, DECODERS[:1])
@each(
    "strategy",
    [
        jaxrnn.Auto(),
        jaxrnn.Hoisted(),
        jaxrnn.Fused(),
        jaxrnn.Checkpointed(every=2),
        jaxrnn.Wavefront(),
    ],
)
def test_law_s_in_a_decoder(layer, strategy, x64):
    case, names = decoder_case(layer), OPTIONS[-1]
    got = unrolled(case, options=make_options(case, names), strategy=strategy)
    testing.assert_close("Law S", str(strategy), got, by_scan(layer, names), 1e-9)


def test_a_reset_restarts_the_recurrent_layers_and_keeps_the_memory(x64):
    layer = DECODERS[0]
    case = decoder_case(layer)
    cut = 3
    resets = jnp.zeros((6, 4), bool).at[cut].set(True)
    state, ys = unroll(layer, case.params, case.xs, case.state, resets=resets)
    fresh = list(case.state)
    for i in (1, 3):
        fresh[i] = jax.tree.map(jnp.zeros_like, fresh[i])
    want = unroll(layer, case.params, case.xs[cut:], tuple(fresh))
    testing.assert_close("reset", str(layer), (state, ys[cut:]), want, 1e-12)
    jax.tree.map(np.testing.assert_array_equal, state[2], case.state[2])


@each("layer", LAYERS)
def test_a_sequence_without_steps_does_not_read_its_memory(layer):
    params, xs, values = made(layer)
    memory = layer.memory(params, values.at[:, 1].set(jnp.nan))

    def loss(params, keys, values):
        given = memory._replace(keys=keys, values=values)
        steps = jnp.array([5, 0, 2])
        after, ys = unroll(layer, params, xs, given, lengths=steps)
        return jnp.sum(ys**2), after

    given = params, memory.keys, memory.values
    grads, after = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(*given)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(grads))
    jax.tree.map(np.testing.assert_array_equal, after, memory)


def in_combinators(kind):
    """A combinator that holds attention, and its state for some memory of 4 features."""
    same = kind(4, 4, 5, merge=second)
    return {
        "Residual": (Residual(same), lambda p, m: same.memory(p, m)),
        "SkipStack": (
            SkipStack((Dense(4, 4), kind(4 + 4, 4, 5))),
            lambda p, m: ((), kind(8, 4, 5).memory(p[1], m)),
        ),
        "Bidirectional": (
            Bidirectional(same, merge=jnp.add),
            lambda p, m: Directions(*(same.memory(each, m) for each in p)),
        ),
    }


@each("kind", [AdditiveAttention, DotProductAttention])
@each("name", ["Residual", "SkipStack", "Bidirectional"])
def test_combinators_hold_attention(kind, name, x64):
    layer, state_of = in_combinators(kind)[name]
    params = layer.init(jax.random.key(1))
    rng = np.random.default_rng(2)
    xs, values = (jnp.asarray(rng.standard_normal((n, 4, 4))) for n in (6, SOURCE))
    case = Case(layer, params, xs, state_of(params, values), seed=0)
    given = make_options(case, OPTIONS[-1])
    got = unrolled(case, options=given, strategy=jaxrnn.Auto())
    want = by_steps(case, options=given)
    testing.assert_close("unroll", str(layer), got, want, 1e-9)


@each("layer", LAYERS)
def test_bfloat16_stays_and_is_accumulated_in_float32(layer):
    params, xs, values = made(layer)
    want = unroll(layer, params, xs, layer.memory(params, values, LENGTHS))[1]
    low = jaxrnn.cast((params, xs, values), jnp.bfloat16)
    memory = layer.memory(low[0], low[2], LENGTHS)

    def loss(params, xs):
        ys = unroll(layer, params, xs, memory)[1]
        return jnp.sum(ys.astype(jnp.float32)), ys

    grads, ys = jax.grad(loss, argnums=(0, 1), has_aux=True)(*low[:2])
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((grads, ys, memory[:2]))}
    assert dtypes == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_allclose(ys.astype(jnp.float32), want, atol=0.05)
    weights = layer.weights(low[0], memory, low[1])
    assert weights.dtype == jnp.float32
    # sums of weights that were rounded to bfloat16 would be off by 1e-3
    np.testing.assert_allclose(weights.sum(-1)[:, [0, 2]], 1, atol=1e-6)


@each("layer", LAYERS)
def test_transformations(layer, x64):
    params, xs, values = made(layer)
    memory = layer.memory(params, values, LENGTHS)
    want = unroll(layer, params, xs, memory)[1]
    run = lambda params, memory: unroll(layer, params, xs, memory)[1]
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), (params, memory))
    for ys in jax.jit(jax.vmap(run))(*stacked):
        np.testing.assert_allclose(ys, want, atol=1e-12)
    swapped = jnp.swapaxes(xs, 0, 1)
    _, ys = jaxrnn.unroll_batch_major(layer, params, swapped, memory)
    np.testing.assert_allclose(jnp.swapaxes(ys, 0, 1), want, atol=1e-12)
    one = jax.tree.map(lambda m: m[0], memory)
    _, ys = jaxrnn.unroll_one(layer, params, xs[:, 0], one)
    np.testing.assert_allclose(ys, want[:, 0], atol=1e-12)
    host = jax.tree.map(np.asarray, (params, one))
    _, y = layer.step(*host, np.asarray(xs[0, 0]))
    np.testing.assert_allclose(y, want[0, 0], atol=1e-12)


@each("layer", LAYERS)
def test_layers_copy_and_compare(layer):
    testing.check_protocol(layer)
    testing.check_copies(layer)


def test_additive_attention_does_not_store_the_tanh_of_all_pairs():
    layer = AdditiveAttention(8, 8, 64)
    params = layer.init(jax.random.key(0))
    time, batch, source = 50, 4, 20
    memory = layer.memory(params, jnp.ones((source, batch, 8)))
    xs = jnp.ones((time, batch, 8))

    def loss(params, xs):
        return jnp.sum(unroll(layer, params, xs, memory)[1])

    compiled = jax.jit(jax.grad(loss)).lower(params, xs).compile()
    pairs = 4 * time * batch * source * 64
    assert compiled.memory_analysis().temp_size_in_bytes < pairs / 4


def test_explain_takes_the_state():
    layer = DECODERS[1]
    params = layer.init(jax.random.key(0))
    memory = layer.layers[2].memory(params[2], jnp.ones((SOURCE, 4, 6)))
    state = ((), random_state(LSTM(3, 4), 4), memory, random_state(LSTM(3, 4), 4), ())
    shapes = jax.eval_shape(lambda: state)
    for given in (state, shapes):
        report = jaxrnn.explain(layer, (6, 4), jnp.int32, state=given)
        assert len(report.decisions) == 2
    with pytest.raises(ValueError, match="has no initial state"):
        jaxrnn.explain(layer, (6, 4), jnp.int32)


@each("layer", LAYERS)
def test_a_missing_or_wrong_memory_is_refused(layer):
    params, xs, values = made(layer)
    memory = layer.memory(params, values)
    with pytest.raises(ValueError, match=r"has no initial state.*attention\.memory"):
        unroll(layer, params, xs)
    with pytest.raises(TypeError, match=r"is tuple, where a jaxrnn\.layers\.Memory"):
        unroll(layer, params, xs, ())
    with pytest.raises(TypeError, match=r"is tuple, where a jaxrnn\.layers\.Memory"):
        unroll(layer, params, xs, tuple(memory))
    wrong = memory._replace(values=memory.values[..., 1:])
    with pytest.raises(ValueError, match=r"values of \(4, 5\) float32, where \(4, 6\)"):
        unroll(layer, params, xs, wrong)
    wrong = jaxrnn.cast(memory, jnp.bfloat16)
    with pytest.raises(ValueError, match=r"keys of \(4, 5\) bfloat16.*float32 are"):
        unroll(layer, params, xs, wrong)
    with pytest.raises(ValueError, match=r"state\.keys has the shape \(2, 4, 5\)"):
        unroll(layer, params, xs, jax.tree.map(lambda m: m[:2], memory))
    with pytest.raises(ValueError, match=r"keys of \(3, 4, 5\) float32"):
        layer.step(params, memory, xs[0, 0])
    with pytest.raises(ValueError, match=r"weights: xs has the shape \(5, 2, 3\)"):
        layer.weights(params, memory, xs[:, :2])
    with pytest.raises(ValueError, match="it takes 3 features"):
        unroll(layer, params, xs[..., 1:], memory)


@each("layer", LAYERS)
def test_wrong_values_of_a_memory_are_refused(layer):
    params, _, values = made(layer)
    with pytest.raises(ValueError, match=r"shape \(4, 3, 5\), where \(S, B, 6\)"):
        layer.memory(params, values[..., 1:])
    with pytest.raises(ValueError, match="S and B of at least 1"):
        layer.memory(params, values[:0])
    with pytest.raises(TypeError, match="not an array: give an array"):
        layer.memory(params, [1.0])
    with pytest.raises(
        TypeError, match="values are bfloat16 and the parameters float32"
    ):
        layer.memory(params, values.astype(jnp.bfloat16))
    with pytest.raises(
        ValueError, match=r"contain \[5\], but the memory has T=4 steps"
    ):
        layer.memory(params, values, np.array([5, 0, 1]))
    with pytest.raises(ValueError, match=r"lengths have the shape \(2,\)"):
        layer.memory(params, values, np.array([1, 0]))


def test_a_state_of_the_wrong_structure_is_refused_in_a_stack():
    layer = DECODERS[0]
    params, xs = layer.init(jax.random.key(0)), jnp.zeros((6, 4), int)
    with pytest.raises(ValueError, match="has no initial state"):
        unroll(layer, params, xs, ((), ()))
    memory = layer.layers[2].memory(params[2], jnp.ones((SOURCE, 4, 6)))
    with pytest.raises(ValueError, match=r"state has the structure .*, where"):
        unroll(layer, params, xs, ((), (), memory, (), ()))


@each("kind", [AdditiveAttention, DotProductAttention])
def test_wrong_fields_are_refused(kind):
    with pytest.raises(ValueError, match=r"size=0\): a size must be at least 1"):
        kind(3, 6, 0)
    with pytest.raises(TypeError, match=r"merge=3\): give a function"):
        kind(3, 6, 5, merge=3)
    with pytest.raises(TypeError, match="give an initializer"):
        kind(3, 6, 5, w_init=None)
