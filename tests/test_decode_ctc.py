"""CTC decoding, against sums over all alignments and a search with a dictionary."""

import itertools
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrnn import decode

from .decoding import KEY, log_softmax


def collapse(path, blank: int) -> tuple[int, ...]:
    return tuple(int(s) for s, _ in itertools.groupby(path) if s != blank)


def all_alignments(log_p: np.ndarray, blank: int) -> list:
    """Every labelling and its log-probability, the best first: a sum over all paths."""
    found: dict = defaultdict(float)
    for path in itertools.product(range(log_p.shape[1]), repeat=len(log_p)):
        p = np.exp(sum(log_p[t, s] for t, s in enumerate(path)))
        found[collapse(path, blank)] += p
    return sorted(((s, np.log(p)) for s, p in found.items()), key=lambda i: -i[1])


def with_dictionary(log_p: np.ndarray, width: int, blank: int) -> list:
    """Prefix beam search as Hannun et al. write it, in probabilities."""
    beam = {(): (1.0, 0.0)}
    for frame in np.exp(log_p):
        after: dict = defaultdict(lambda: [0.0, 0.0])
        for prefix, (in_blank, in_label) in beam.items():
            total = in_blank + in_label
            after[prefix][0] += total * frame[blank]
            if prefix:
                after[prefix][1] += in_label * frame[prefix[-1]]
            for s in set(range(len(frame))) - {blank}:
                before = in_blank if prefix[-1:] == (s,) else total
                after[(*prefix, s)][1] += before * frame[s]
        ranked = sorted(after.items(), key=lambda item: -sum(item[1]))
        beam = {prefix: tuple(p) for prefix, p in ranked[:width]}
    with np.errstate(divide="ignore"):
        return [(prefix, np.log(sum(p))) for prefix, p in beam.items()]


def check(beams, b: int, want: list, blank: int) -> None:
    time = len(beams.symbols)
    for w, (labels, log_p) in enumerate(want):
        filled = [*labels, *[blank] * (time - len(labels))]
        assert beams.symbols[:, b, w].tolist() == filled
        assert int(beams.lengths[b, w]) == len(labels)
        np.testing.assert_allclose(beams.scores[b, w], log_p, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("blank", [0, 2])
def test_a_wide_beam_sums_over_all_alignments(blank):
    logits = 2 * jax.random.normal(KEY, (5, 4, 3))
    lengths = jnp.array([5, 0, 1, 3])
    beams = decode.ctc_beam_search(logits, lengths, width=70, blank=blank)
    for b, n in enumerate(lengths.tolist()):
        want = all_alignments(log_softmax(logits[:n, b]), blank)
        assert len(want) < 70
        check(beams, b, want, blank)
        assert (beams.scores[b, len(want) :] == -jnp.inf).all()
        assert (beams.lengths[b, len(want) :] == 0).all()
        assert (beams.symbols[:, b, len(want) :] == blank).all()
        np.testing.assert_allclose(jnp.exp(beams.scores[b]).sum(), 1, rtol=1e-5)


@pytest.mark.parametrize("width", [1, 2, 3, 8])
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_a_narrow_beam_is_the_search_with_a_dictionary(width, scale):
    logits = scale * jax.random.normal(jax.random.key(width), (20, 12, 4))
    lengths = jnp.array([20, 0, 1, 2, 19, 11, *[20] * 6])
    beams = decode.ctc_beam_search(logits, lengths, width=width, blank=1)
    for b, n in enumerate(lengths.tolist()):
        want = with_dictionary(log_softmax(logits[:n, b]), width, 1)
        check(beams, b, want, 1)


def test_prefixes_that_leave_the_beam_and_return_are_merged():
    """Repeated labels and few symbols, so that most extensions meet another prefix."""
    logits = jax.random.normal(jax.random.key(9), (40, 30, 2))
    beams = decode.ctc_beam_search(logits, width=4)
    for b in range(30):
        check(beams, b, with_dictionary(log_softmax(logits[:, b]), 4, 0), 0)
        labels = {tuple(x) for x in beams.symbols[:, b].T.tolist()}
        assert len(labels) == 4


def test_impossible_symbols_are_never_decoded():
    logits = jax.random.normal(KEY, (6, 3, 4)).at[:, :, 2].set(-jnp.inf)
    beams = decode.ctc_beam_search(logits, width=300)
    for b in range(3):
        want = all_alignments(log_softmax(np.asarray(logits)[:, b, [0, 1, 3]]), 0)
        back = {0: 0, 1: 1, 2: 3}
        check(beams, b, [(tuple(back[s] for s in k), p) for k, p in want], 0)
        assert (beams.scores[b, len(want) :] == -jnp.inf).all()
    assert (decode.ctc_greedy(logits).symbols != 2).all()


@pytest.mark.parametrize("blank", [0, 3])
def test_greedy_collapses_the_best_path(blank):
    logits = jax.random.normal(KEY, (15, 6, 4))
    lengths = jnp.array([15, 0, 1, 7, 14, 2])
    out = decode.ctc_greedy(logits, lengths, blank=blank)
    for b, n in enumerate(lengths.tolist()):
        log_p = log_softmax(logits[:n, b])
        labels = collapse(log_p.argmax(-1), blank)
        filled = [*labels, *[blank] * (15 - len(labels))]
        assert out.symbols[:, b].tolist() == filled
        assert int(out.lengths[b]) == len(labels)
        np.testing.assert_allclose(out.log_probs[b], log_p.max(-1).sum(), rtol=1e-5)


def test_scores_and_their_gradients_are_those_of_the_ctc_loss():
    logits = 2 * jax.random.normal(KEY, (4, 3, 3))
    lengths = jnp.array([4, 2, 3])
    beams = decode.ctc_beam_search(logits, lengths, width=40)
    labels, rank = beams.symbols[:, :, 1].T, beams.lengths[:, 1]

    def loss(logits):
        given = jnp.swapaxes(logits, 0, 1)
        after = lambda n: (jnp.arange(4)[None] >= n[:, None]).astype(jnp.float32)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return optax.ctc_loss(given, after(lengths), labels, after(rank))

    def score(logits):
        return decode.ctc_beam_search(logits, lengths, width=40).scores[:, 1]

    np.testing.assert_allclose(score(logits), -loss(logits), rtol=1e-4)
    ours, theirs = jax.jacrev(score)(logits), jax.jacrev(loss)(logits)
    np.testing.assert_allclose(ours, -theirs, rtol=1e-3, atol=1e-5)


def searches():
    return {
        "greedy": decode.ctc_greedy,
        "beam": lambda *given: decode.ctc_beam_search(*given, width=3),
    }


@pytest.mark.parametrize("name", searches())
def test_padding_reaches_neither_results_nor_gradients(name):
    search = searches()[name]
    lengths = jnp.array([4, 0, 2])
    inside = jnp.broadcast_to(jnp.arange(4)[:, None, None], (4, 3, 5))
    inside = inside < lengths[None, :, None]
    logits = jax.random.normal(KEY, (4, 3, 5))

    def loss(logits):
        out = search(logits, lengths)
        return jnp.sum(jnp.where(out[2] > -jnp.inf, out[2], 0.0)), out

    clean = jax.grad(loss, has_aux=True)(jnp.where(inside, logits, 0.0))
    dirty = jax.grad(loss, has_aux=True)(jnp.where(inside, logits, jnp.nan))
    jax.tree.map(np.testing.assert_array_equal, clean, dirty)
    assert np.isfinite(dirty[0]).all() and (dirty[0][~inside] == 0).all()


@pytest.mark.parametrize("name", searches())
def test_nan_shows_in_its_own_sequence_alone(name):
    logits = jax.random.normal(KEY, (4, 3, 5))
    out = searches()[name](logits.at[1, 1, 2].set(jnp.nan))
    want = searches()[name](logits)
    assert np.isnan(out[2][1]).all()
    for b in (0, 2):
        jax.tree.map(
            np.testing.assert_array_equal,
            (out[1][b], out[2][b]),
            (want[1][b], want[2][b]),
        )
        assert (out.symbols[:, b] == want.symbols[:, b]).all()


@pytest.mark.parametrize("name", searches())
def test_jit_vmap_one_frame_and_narrow_dtypes(name):
    search = searches()[name]
    logits = jax.random.normal(KEY, (2, 6, 3, 5))
    lengths = jnp.array([[6, 2, 0], [1, 6, 3]])
    both = jax.jit(jax.vmap(search))(logits, lengths)
    for i in range(2):
        one = search(logits[i], lengths[i])
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
            jax.tree.map(lambda leaf, i=i: leaf[i], both),
            one,
        )
    short = search(logits[0, :1, :1])
    assert int(short.lengths.ravel()[0]) == int(jnp.argmax(logits[0, 0, 0]) != 0)
    assert search(logits[0].astype(jnp.bfloat16))[2].dtype == jnp.float32


@pytest.mark.parametrize("name", searches())
def test_shard_map_changes_nothing(name):
    spec = jax.sharding.PartitionSpec
    mesh = jax.make_mesh((1,), ("b",), axis_types=(jax.sharding.AxisType.Auto,))
    logits, lengths = jax.random.normal(KEY, (6, 3, 5)), jnp.array([6, 2, 0])
    search = lambda *given: tuple(searches()[name](*given))
    sharded = jax.shard_map(
        search, mesh=mesh, in_specs=(spec(None, "b"), spec("b")), out_specs=spec("b")
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        jax.jit(sharded)(logits, lengths),
        search(logits, lengths),
    )


V, T = ValueError, TypeError
LOGITS = jnp.zeros((4, 2, 3))
WRONG = {
    "integers": (lambda f: f(jnp.zeros((4, 2, 3), int)), T, "floating-point"),
    "a list": (lambda f: f([[[0.0]]]), T, r"give an array \(T, B, v\)"),
    "no batch": (lambda f: f(jnp.zeros((4, 3))), V, "time-major"),
    "no frame": (lambda f: f(jnp.zeros((0, 2, 3))), V, "give a length of 0"),
    "long": (lambda f: f(LOGITS, jnp.array([5, 1])), V, "from 0 to 4"),
    "float lengths": (lambda f: f(LOGITS, jnp.ones(2)), T, "give integers"),
    "blank": (lambda f: f(LOGITS, blank=3), V, "from 0 to 2"),
    "blank below": (lambda f: f(LOGITS, blank=-1), V, "from 0 to 2"),
    "float blank": (lambda f: f(LOGITS, blank=0.0), T, "not a float"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_arguments_are_refused(name):
    call, error, words = WRONG[name]

    def beam(*given, **options):
        return decode.ctc_beam_search(*given, width=2, **options)

    for search in (decode.ctc_greedy, beam):
        with pytest.raises(error, match=words):
            call(search)


@pytest.mark.parametrize("width, error", [(0, V), (1.0, T), (True, T)])
def test_bad_widths_are_refused(width, error):
    with pytest.raises(error, match="width="):
        decode.ctc_beam_search(LOGITS, width=width)
