"""Greedy decoding and sampling against plain Python; what holds for all decoders."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxrnn
from jaxrnn import decode
from jaxrnn.decode._sample import keep_top_k, keep_top_p

from .decoding import (
    KEY,
    MODEL,
    PARAMS,
    START,
    STATE,
    STOP,
    Markov,
    log_softmax,
    row,
    same,
)


def plain_greedy(b: int, steps: int, stop: int | None):
    """One sequence, one step at a time."""
    state, symbol = row(STATE, b), START[b]
    symbols, log_ps = [], []
    for _ in range(steps):
        state, logits = MODEL.step(PARAMS, state, symbol)
        symbol = jnp.argmax(logits)
        symbols.append(int(symbol))
        log_ps.append(log_softmax(logits)[symbols[-1]])
        if symbols[-1] == stop:
            break
    length = len(symbols) - (symbols[-1] == stop)
    missing = steps - len(symbols)
    return symbols + [stop] * missing, length, log_ps + [0.0] * missing, state


@pytest.mark.parametrize("stop", [None, STOP])
def test_greedy_is_a_loop_over_steps(stop):
    out = decode.greedy(MODEL, PARAMS, STATE, START, steps=12, stop=stop)
    for b in range(5):
        symbols, length, log_ps, state = plain_greedy(b, 12, stop)
        assert out.symbols[:, b].tolist() == symbols
        assert int(out.lengths[b]) == length
        np.testing.assert_allclose(out.log_probs[:, b], log_ps, rtol=1e-4, atol=1e-5)
        same(row(out.state, b), state)
    if stop is not None:  # some sequences end, at different steps, and some do not
        assert len(set(out.lengths.tolist())) > 2 and 12 in out.lengths.tolist()


def test_a_decoded_sequence_continues_from_its_last_symbol():
    greedy = partial(decode.greedy, MODEL, PARAMS)
    whole = greedy(STATE, START, steps=9)
    first = greedy(STATE, START, steps=4)
    second = greedy(first.state, first.symbols[-1], steps=5)
    assert (jnp.concatenate([first.symbols, second.symbols]) == whole.symbols).all()
    same(second.state, whole.state)


def test_an_ended_sequence_continues_with_its_stop_symbol():
    """Its state has read everything before the stop symbol, and the stop symbol not yet."""
    out = decode.greedy(MODEL, PARAMS, STATE, START, steps=12, stop=STOP)
    more = decode.greedy(MODEL, PARAMS, out.state, out.symbols[-1], steps=3)
    for b in range(5):
        n = min(int(out.lengths[b]) + 1, 12)  # with the stop symbol
        read = jnp.concatenate([START[None, b], out.symbols[:n, b]])[:, None]
        one = jax.tree.map(lambda leaf, b=b: leaf[b : b + 1], STATE)
        _, logits = jaxrnn.unroll(MODEL, PARAMS, read, one)
        assert int(more.symbols[0, b]) == int(jnp.argmax(logits[-1, 0]))


def test_sampled_symbols_have_the_log_probabilities_of_the_layer():
    """Whatever the temperature, top_k and top_p, and 0 after the stop symbol."""
    options = dict(temperature=0.7, top_k=4, top_p=0.95)
    out = decode.sample(MODEL, PARAMS, STATE, START, KEY, steps=8, stop=STOP, **options)
    read = jnp.concatenate([START[None], out.symbols[:-1]])
    _, logits = jaxrnn.unroll(MODEL, PARAMS, read, STATE)
    want = np.take_along_axis(
        log_softmax(logits), np.asarray(out.symbols)[..., None], 2
    )
    inside = np.arange(8)[:, None] <= np.asarray(out.lengths)
    np.testing.assert_allclose(out.log_probs, want[..., 0] * inside, atol=1e-5)
    assert 0 < inside.sum() < inside.size


def test_the_most_probable_symbol_is_the_only_one_left():
    want = decode.greedy(MODEL, PARAMS, STATE, START, steps=6).symbols
    for options in (dict(top_k=1), dict(top_p=1e-6), dict(temperature=1e-6)):
        out = decode.sample(MODEL, PARAMS, STATE, START, KEY, steps=6, **options)
        assert (out.symbols == want).all(), options


def plain_filter(logits, temperature, top_k, top_p) -> np.ndarray:
    """The distribution that symbols are drawn from, one symbol at a time."""
    scores = np.asarray(logits, np.float64) / temperature
    kept = range(len(scores))
    if top_k is not None:
        limit = sorted(scores, reverse=True)[top_k - 1]
        kept = [i for i in kept if scores[i] >= limit]
    probs = {i: np.exp(scores[i]) for i in kept}
    probs = {i: p / sum(probs.values()) for i, p in probs.items()}
    if top_p is not None:
        total, limit = 0.0, None
        for p in sorted(probs.values(), reverse=True):
            if total < top_p:
                total, limit = total + p, p
        probs = {i: p for i, p in probs.items() if p >= limit}
    out = np.zeros(len(scores))
    for i, p in probs.items():
        out[i] = p / sum(probs.values())
    return out


OPTIONS = [
    dict(temperature=1.0, top_k=None, top_p=None),
    dict(temperature=0.5, top_k=None, top_p=None),
    dict(temperature=2.0, top_k=3, top_p=None),
    dict(temperature=1.0, top_k=None, top_p=0.7),
    dict(temperature=1.5, top_k=4, top_p=0.8),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_samples_follow_the_distribution(options):
    """Chi-squared over 20,000 pairs of symbols; a right sampler fails once in 10^6 keys."""
    layer = Markov(6)
    table, rows = 1.5 * layer.init(KEY), 20_000
    start = jnp.full(rows, 2)
    out = decode.sample(layer, table, None, start, KEY, steps=2, **options)
    first = plain_filter(table[2], **options)
    second = np.stack([plain_filter(r, **options) for r in table])
    pairs = np.zeros((6, 6))
    np.add.at(pairs, tuple(np.asarray(out.symbols)), 1)
    expected = rows * first[:, None] * second
    assert pairs[expected == 0].sum() == 0
    often = expected > 5
    counts = np.append(pairs[often], pairs[~often].sum())
    means = np.append(expected[often], expected[~often].sum())
    counts, means = counts[means > 0], means[means > 0]
    assert stats.chisquare(counts, means).pvalue > 1e-6


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9, 0.999, 1.0])
def test_filters_are_those_written_out(p):
    logits = jax.random.normal(KEY, (50, 40)) * 3
    logits = jnp.concatenate([logits, jnp.round(logits)])  # with ties
    top_p = keep_top_p(logits, jnp.asarray(p))
    top_k = keep_top_k(logits, 7)
    for b, scores in enumerate(np.asarray(logits)):
        want = plain_filter(scores, 1.0, None, p if p < 1 else None) > 0
        assert (np.isfinite(top_p[b]) == want).all()
        want = plain_filter(scores, 1.0, 7, None) > 0
        assert (np.isfinite(top_k[b]) == want).all()
        assert (np.asarray(top_k)[b][want] == scores[want]).all()


def decoders():
    """Each function of `(params, state, start)`; the results are arrays and states."""
    key = jax.random.key(3)

    def scheduled(params, state, start):
        xs = jnp.stack([start, start])
        return decode.scheduled_sampling(
            MODEL, params, state, xs, key, probability=jnp.asarray(0.5)
        )

    def sample(params, state, start):
        options = dict(temperature=jnp.asarray(0.8), top_k=4, top_p=jnp.asarray(0.9))
        return decode.sample(
            MODEL, params, state, start, key, steps=4, stop=STOP, **options
        )

    def beam(params, state, start):
        options = dict(width=3, steps=4, stop=STOP, length_penalty=jnp.asarray(0.6))
        return decode.beam_search(MODEL, params, state, start, **options)

    greedy = partial(decode.greedy, MODEL, steps=4, stop=STOP)
    return {"greedy": greedy, "sample": sample, "beam": beam, "scheduled": scheduled}


each = pytest.mark.parametrize("name", decoders())


@each
def test_jit_and_vmap_change_nothing(name):
    run = decoders()[name]
    same(jax.jit(run)(PARAMS, STATE, START), run(PARAMS, STATE, START))
    two = jax.tree.map(lambda s: jnp.stack([s, s[::-1]]), (STATE, START))
    mapped = jax.vmap(run, in_axes=(None, 0, 0))(PARAMS, *two)
    for i in range(2):
        one = run(PARAMS, *jax.tree.map(lambda s, i=i: s[i], two))
        same(jax.tree.map(lambda s, i=i: s[i], mapped), one)


@each
def test_shard_map_changes_nothing(name):
    run, axis = decoders()[name], jax.sharding.PartitionSpec("b")
    mesh = jax.make_mesh((1,), ("b",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.shard_map(
        lambda params, state, start: jax.tree.leaves(run(params, state, start)),
        mesh=mesh,
        in_specs=(jax.sharding.PartitionSpec(), axis, axis),
        out_specs=axis,  # one device: any axis may be divided
    )
    want = jax.tree.leaves(run(PARAMS, STATE, START))
    same(jax.jit(sharded)(PARAMS, STATE, START), want)


@each
@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32, np.int16])
def test_one_sequence_from_the_initial_state_in_any_dtype(name, dtype):
    """A batch of one, in bfloat16; None is the initial state."""
    params = jaxrnn.cast(PARAMS, jnp.bfloat16)
    start = np.array([1], dtype)
    state = jax.tree.map(lambda s: s[None], MODEL.initial_state(params))
    out = decoders()[name](params, None, start)
    jax.tree.map(
        np.testing.assert_array_equal, out, decoders()[name](params, state, start)
    )
    if name == "scheduled":
        assert out[1].dtype == jnp.bfloat16
    else:
        assert out.symbols.dtype == dtype
        assert out[2].dtype == jnp.float32


@each
def test_float64(name, x64):
    params, state = jaxrnn.cast((PARAMS, STATE), jnp.float64)
    out = decoders()[name](params, state, START)
    wide = {leaf.dtype for leaf in jax.tree.leaves(out) if leaf.dtype.kind == "f"}
    assert wide == {np.dtype("float64")}


def test_one_step():
    given = (MODEL, PARAMS, STATE, START)
    out = decode.greedy(*given, steps=1, stop=STOP)
    _, logits = jaxrnn.unroll(MODEL, PARAMS, START[None], STATE)
    assert (out.symbols[0] == jnp.argmax(logits[0], axis=-1)).all()
    beams = decode.beam_search(*given, steps=1, width=5, stop=STOP)
    np.testing.assert_allclose(
        beams.scores, -np.sort(-log_softmax(logits[0])), rtol=1e-4
    )


@pytest.mark.parametrize("name", ["greedy", "sample", "beam"])
def test_nan_shows_in_its_own_sequence_alone(name):
    state = jax.tree.map(lambda s: s.at[2].set(jnp.nan), STATE)
    out, want = (decoders()[name](PARAMS, s, START) for s in (state, STATE))
    values = {"beam": lambda o: o[2]}.get(name, lambda o: o.log_probs.T)
    assert np.isnan(values(out)[2].ravel()[0])
    others = jnp.array([0, 1, 3, 4])
    same(values(out)[others], values(want)[others])
    assert (out.symbols[:, others] == want.symbols[:, others]).all()
    assert ((out.symbols >= 0) & (out.symbols < 5)).all()


def test_the_log_probabilities_are_differentiable():
    """REINFORCE: the gradient is the one for the sampled symbols as fixed inputs."""

    def sampled(params):
        out = decode.sample(MODEL, params, STATE, START, KEY, steps=5)
        return jnp.sum(out.log_probs), out.symbols

    gradient, symbols = jax.grad(sampled, has_aux=True)(PARAMS)
    read = jnp.concatenate([START[None], symbols[:-1]])

    def teacher_forced(params):
        log_p = jax.nn.log_softmax(jaxrnn.unroll(MODEL, params, read, STATE)[1])
        return jnp.sum(jnp.take_along_axis(log_p, symbols[..., None], axis=-1))

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        gradient,
        jax.grad(teacher_forced)(PARAMS),
    )
